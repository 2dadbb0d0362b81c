/** Brings a database to the schema of this program, forward only. */
import { sql } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import type { Db } from './db.ts'
import { initialMigration } from './migrations/0001-initial.ts'
import { spaceMigration } from './migrations/0002-space.ts'
import { peopleMigration } from './migrations/0003-people.ts'
import { CAPABILITIES } from './migrations/capabilities.ts'

const migrationTable = 'entrepot_migration'

/** The database was written by a newer version of the program. */
export class DatabaseTooNewError extends Error {
  override readonly name = 'DatabaseTooNewError'
}

/**
 * Run what is missing, in one transaction under a lock: of several processes that start at once one does it.
 * Errors: DatabaseTooNewError when the database knows migrations that this program does not; nothing was changed then.
 */
export async function migrate(db: Db, dialect: 'sqlite' | 'postgres'): Promise<void> {
  const migrations: Record<string, Migration> = {
    '0001-initial': initialMigration(CAPABILITIES[dialect]),
    '0002-space': spaceMigration(CAPABILITIES[dialect]),
    '0003-people': peopleMigration(CAPABILITIES[dialect]),
  }
  const migrator = new Migrator({
    db,
    provider: { getMigrations: async () => migrations },
    migrationTableName: migrationTable,
    migrationLockTableName: `${migrationTable}_lock`,
  })
  const { error } = await migrator.migrateToLatest()
  if (error === undefined) return
  const unknown = (await executedMigrations(db)).filter((name) => !(name in migrations))
  if (unknown.length > 0) {
    throw new DatabaseTooNewError(
      `cannot use the database: a newer version of Entrepot has changed it (${unknown.join(', ')}); ` +
        'run that version, or restore a backup made before the upgrade',
      { cause: error },
    )
  }
  throw new Error('cannot bring the database to the current schema', { cause: error })
}

async function executedMigrations(db: Db): Promise<string[]> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true })
  if (!tables.some((table) => table.name === migrationTable)) return []
  const { rows } = await sql<{ name: string }>`select name from ${sql.table(migrationTable)}`.execute(db)
  return rows.map((row) => row.name)
}
