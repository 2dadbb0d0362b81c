/** Organizations and accounts share one set of names, as in Quay. */
import type { Db } from './db.ts'

export class NameTakenError extends Error {
  override readonly name = 'NameTakenError'
  readonly takenName: string

  constructor(takenName: string) {
    super(`the name "${takenName}" is taken`)
    this.takenName = takenName
  }
}

/** Errors: NameTakenError. The name stays free for the caller until the transaction ends. */
export async function claimName(tx: Db, name: string): Promise<void> {
  await holdNames(tx)
  const organization = await tx.selectFrom('organization').select('id').where('name', '=', name).executeTakeFirst()
  const account = await tx.selectFrom('account').select('id').where('username', '=', name).executeTakeFirst()
  if (organization !== undefined || account !== undefined) throw new NameTakenError(name)
}

/**
 * Hold, until the transaction ends, what makes "look, then insert" safe over two tables. Creating is rare: one lock.
 * Writing the row locks it, and the statements after it see what the last holder did.
 */
export async function holdNames(tx: Db): Promise<void> {
  await tx
    .insertInto('instance')
    .values({ key: 'lock:names', value: '' })
    .onConflict((conflict) => conflict.column('key').doUpdateSet({ value: '' }))
    .execute()
}
