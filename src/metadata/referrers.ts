/** The last list of referrers that an upstream gave, so that signatures do not vanish when it is down. */
import type { Digest } from '../oci/digest.ts'
import type { Referrer } from '../oci/registry.ts'
import type { Db } from './db.ts'

export type SavedReferrers = { referrers: Referrer[]; fetchedAtMs: number }

/** Undefined when the upstream was never asked. */
export async function findReferrers(
  db: Db,
  repositoryId: number,
  subject: Digest,
): Promise<SavedReferrers | undefined> {
  const row = await db
    .selectFrom('referrers')
    .select(['referrers', 'fetched_at'])
    .where('repository_id', '=', repositoryId)
    .where('subject_digest', '=', subject)
    .executeTakeFirst()
  return row && { referrers: JSON.parse(row.referrers), fetchedAtMs: row.fetched_at }
}

/** Replace the list, unless the one that is there was fetched later. */
export async function saveReferrers(
  tx: Db,
  fields: { repositoryId: number; subject: Digest; referrers: readonly Referrer[]; fetchedAtMs: number },
): Promise<void> {
  const changes = { referrers: JSON.stringify(fields.referrers), fetched_at: fields.fetchedAtMs }
  await tx
    .insertInto('referrers')
    .values({ repository_id: fields.repositoryId, subject_digest: fields.subject, ...changes })
    .onConflict((conflict) =>
      conflict
        .columns(['repository_id', 'subject_digest'])
        .doUpdateSet(changes)
        .where('referrers.fetched_at', '<=', fields.fetchedAtMs),
    )
    .execute()
}
