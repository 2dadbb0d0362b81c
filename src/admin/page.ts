/** A page of a listing, by key: what comes after the last entry of the page before. */

export const PAGE_LIMITS = {
  /** Also what is answered when the client names no number: Quay does not page most of these lists at all. */
  entriesMax: 1000,
} as const

export type PageQuery = { after: string | undefined; limit: number }
export type Page<Entry> = { entries: Entry[]; next: string | undefined }

/** Ask for one entry more than wanted, which tells whether there are more. */
export async function readPage<Entry>(
  query: PageQuery,
  list: (page: PageQuery) => Promise<Entry[]>,
  keyOf: (entry: Entry) => string,
): Promise<Page<Entry>> {
  const rows = await list({ ...query, limit: query.limit + 1 })
  const entries = rows.slice(0, query.limit)
  const last = entries.at(-1)
  return { entries, next: rows.length > query.limit && last !== undefined ? keyOf(last) : undefined }
}
