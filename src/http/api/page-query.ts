/** `limit` and `next_page` of a listing's query, and the `next_page` of its answer: opaque, as Quay's is. */
import { invalidRequest } from '../../admin/admin-error.ts'
import { PAGE_LIMITS, type PageQuery } from '../../admin/page.ts'
import type { ApiCall } from './api-route.ts'

/** A name of 255 characters, of which each may be escaped. */
const textCharactersMax = 2048

/** One parameter of the query. Errors: AdminError INVALID_REQUEST, naming it. */
export function queryText({ request }: Pick<ApiCall<unknown>, 'request'>, name: string): string | undefined {
  const query = request.query as Readonly<Record<string, unknown>>
  const value = Object.hasOwn(query, name) ? query[name] : undefined
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw invalidRequest(`${name}: is given more than once`)
  if (value.length > textCharactersMax) throw invalidRequest(`${name}: more than ${textCharactersMax} characters`)
  return value
}

/** As Quay's `truthy_bool`. Errors: as `queryText`. */
export function queryFlag(call: Pick<ApiCall<unknown>, 'request'>, name: string, otherwise: boolean): boolean {
  const text = queryText(call, name)
  if (text === undefined || text === '') return otherwise
  return !/^(?:false|0|no|off)$/i.test(text)
}

/** Errors: as `queryText`. */
export function parsePageQuery(call: Pick<ApiCall<unknown>, 'request'>): PageQuery {
  const { entriesMax } = PAGE_LIMITS
  const limitText = queryText(call, 'limit') || String(entriesMax)
  const limit = /^\d{1,9}$/.test(limitText) ? Number(limitText) : 0
  if (limit < 1) throw invalidRequest(`limit: expected a whole number from 1 to ${entriesMax}`)
  const token = queryText(call, 'next_page') || undefined
  return { after: token === undefined ? undefined : openPageToken(token), limit: Math.min(limit, entriesMax) }
}

/** Nothing on the last page. */
export function nextPageField(next: string | undefined): { next_page?: string } {
  return next === undefined ? {} : { next_page: Buffer.from(next, 'utf8').toString('base64url') }
}

function openPageToken(token: string): string {
  const key = Buffer.from(token, 'base64url').toString('utf8')
  if (key === '' || /[\0-\x1f\x7f\ufffd]/.test(key)) throw invalidRequest('next_page: is not one of this list')
  return key
}
