/** Facts about this installation: the key's fingerprint, the signing key (encrypted). */
import type { Db } from './db.ts'

export async function findInstanceValue(db: Db, key: string): Promise<string | undefined> {
  const row = await db.selectFrom('instance').select('value').where('key', '=', key).executeTakeFirst()
  return row?.value
}

/** The first writer wins; resolves to the value that stands. */
export async function insertInstanceValue(db: Db, key: string, value: string): Promise<string> {
  const row = await db
    .insertInto('instance')
    .values({ key, value })
    // Writing what stands there returns it; doing nothing would return no row.
    .onConflict((conflict) => conflict.column('key').doUpdateSet((eb) => ({ value: eb.ref('instance.value') })))
    .returning('value')
    .executeTakeFirstOrThrow()
  return row.value
}

/** The last writer wins. */
export async function setInstanceValue(db: Db, key: string, value: string): Promise<void> {
  await db
    .insertInto('instance')
    .values({ key, value })
    .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
    .execute()
}

export async function removeInstanceValue(db: Db, key: string): Promise<void> {
  await db.deleteFrom('instance').where('key', '=', key).execute()
}
