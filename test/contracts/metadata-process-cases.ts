/** What concerns a database as a whole: starting, versions, the first account, what survives. */
import assert from 'node:assert/strict'
import {
  AlreadyInitializedError,
  countAccounts,
  createAccount,
  createFirstAccount,
} from '../../src/metadata/accounts.ts'
import { findInstanceValue, insertInstanceValue } from '../../src/metadata/instance.ts'
import type { Metadata } from '../../src/metadata/open.ts'
import { freshName, NOW_MS, newOrganization, tenTimes } from './metadata-case.ts'
import type { MetadataPlace } from './metadata-contract.ts'

export const PROCESS_CASES: readonly { title: string; check(place: MetadataPlace): Promise<void> }[] = [
  {
    title: 'several that start at once on an empty database all find the same schema',
    async check(place) {
      const opened = await Promise.all(Array.from({ length: 4 }, () => place.open()))
      try {
        for (const [index, metadata] of opened.entries()) await insertInstanceValue(metadata.db, `key-${index}`, 'x')
        for (const { db } of opened) assert.equal(await findInstanceValue(db, 'key-3'), 'x')
      } finally {
        await closeAll(opened)
      }
    },
  },
  {
    title: 'a database of a newer version is refused, and says so',
    async check(place) {
      const metadata = await place.open()
      await metadata.db.connection().execute(async (db) => {
        const row = { name: '9999-from-the-future', timestamp: '2999-01-01T00:00:00.000Z' }
        await db.withTables<{ entrepot_migration: typeof row }>().insertInto('entrepot_migration').values(row).execute()
      })
      await metadata.close()
      await assert.rejects(place.open(), {
        name: 'DatabaseTooNewError',
        message: /newer version of Entrepot has changed it \(9999-from-the-future\)/,
      })
    },
  },
  {
    title: 'of ten first accounts at once one is created, beside an ordinary one none',
    async check(place) {
      const metadata = await place.open()
      try {
        const outcomes = await tenTimes(() =>
          createFirstAccount(metadata.db, account()).then(
            () => 'created',
            (error: unknown) => (error instanceof AlreadyInitializedError ? 'too late' : String(error)),
          ),
        )
        assert.deepEqual(outcomes.toSorted(), ['created', ...Array(9).fill('too late')])
        await createAccount(metadata.db, account())
        await assert.rejects(createFirstAccount(metadata.db, account()), AlreadyInitializedError)
        assert.equal(await countAccounts(metadata.db), 2)
      } finally {
        await metadata.close()
      }
    },
  },
  {
    title: 'what was written is there after it is opened again',
    async check(place) {
      const first = await place.open()
      const organization = await newOrganization(first.db)
      await first.close()
      const second = await place.open()
      try {
        const next = await newOrganization(second.db)
        assert.ok(next.id > organization.id)
      } finally {
        await second.close()
      }
    },
  },
  {
    title: 'transactions take turns, and one that fails does not hold up the rest',
    async check(place) {
      const metadata = await place.open()
      try {
        const outcomes = await tenTimes((turn) =>
          metadata
            .transaction(async (tx) => {
              await insertInstanceValue(tx, 'counter', '0')
              const value = Number(await insertInstanceValue(tx, 'counter', '0')) // Locks the row.
              await tx
                .updateTable('instance')
                .set({ value: String(value + 1) })
                .where('key', '=', 'counter')
                .execute()
              if (turn % 5 === 0) throw new Error('no')
            })
            .then(
              () => 'done',
              () => 'failed',
            ),
        )
        assert.equal(outcomes.filter((outcome) => outcome === 'done').length, 8)
        assert.equal(await findInstanceValue(metadata.db, 'counter'), '8')
      } finally {
        await metadata.close()
      }
    },
  },
  {
    title: 'a row that others point at cannot be deleted, and one that points at nothing not be inserted',
    async check(place) {
      const metadata = await place.open()
      try {
        const row = { organization_id: 77, kind: 'blob' as const, digest: 'sha256:x', size_bytes: 1, stored_at: NOW_MS }
        await assert.rejects(metadata.db.insertInto('ledger').values(row).execute(), /foreign key/i)
      } finally {
        await metadata.close()
      }
    },
  },
]

function account() {
  return { username: freshName(), passwordHash: undefined, isSuperuser: true, nowMs: NOW_MS }
}

async function closeAll(opened: readonly Metadata[]): Promise<void> {
  for (const metadata of opened) await metadata.close()
}
