/** A database and a folder of blobs in which runs follow one another, each beginning with nothing. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import { type Selectable, sql } from 'kysely'
import { blobPath, INGEST_FOLDER } from '../../../src/blobs/layout.ts'
import { type Metadata, openMetadata } from '../../../src/metadata/open.ts'
import { sqliteFileName } from '../../../src/metadata/open-sqlite.ts'
import type { Database } from '../../../src/metadata/schema.ts'
import { parseDigest } from '../../../src/oci/digest.ts'

/** The rows that space is made of, all of them. */
const READ = [
  'organization',
  'repository',
  'manifest',
  'manifest_child',
  'manifest_blob',
  'tag',
  'blob',
  'usage',
  'ledger',
  'root',
  'reservation',
  'garbage',
  'pin',
  'quota',
  'store_usage',
  'job',
] as const

/** What a run writes; those that are referred to come last. */
const WIPED = [
  ...['reservation', 'root', 'pin', 'manifest_child', 'manifest_blob', 'manifest', 'tag', 'referrers', 'ingest'],
  ...['ledger', 'repository', 'quota_limit', 'quota', 'log_entry', 'notification', 'proxy_cache', 'usage'],
  ...['organization', 'job', 'garbage', 'blob', 'instance', 'lease'],
]

type Table = (typeof READ)[number]
export type Rows<Name extends keyof Database> = Selectable<Database[Name]>[]
export type Snapshot = { [Name in Table]: Rows<Name> }

export class Place {
  readonly metadata: Metadata
  readonly blobFolder: string
  readonly #folder: string
  readonly #sqlite: Sqlite.Database | undefined
  readonly #statements = new Map<Table, Sqlite.Statement>()

  private constructor(folder: string, metadata: Metadata) {
    this.#folder = folder
    this.metadata = metadata
    this.blobFolder = join(folder, 'blobs')
    const path = join(folder, sqliteFileName)
    this.#sqlite = existsSync(path) ? new Sqlite(path, { readonly: true }) : undefined
    for (const table of READ) {
      const statement = this.#sqlite?.prepare(`select * from "${table}"`)
      if (statement !== undefined) this.#statements.set(table, statement)
    }
  }

  /** On PostgreSQL when there is a `uri`, else on SQLite; in memory where there is a folder for that. */
  static async open(uri?: string): Promise<Place> {
    const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'space-model-'))
    const metadata = await openMetadata({ uri, dataFolder: folder })
    return new Place(folder, metadata)
  }

  async close(): Promise<void> {
    this.#sqlite?.close()
    await this.metadata.close()
    rmSync(this.#folder, { recursive: true })
  }

  async wipe(): Promise<void> {
    await this.metadata.transaction(async (tx) => {
      for (const table of WIPED) await sql`delete from ${sql.table(table)}`.execute(tx)
      await tx.updateTable('store_usage').set({ blob_bytes: 0 }).execute()
    })
    for (const path of [...this.#files(), ...this.#draftPaths()]) unlinkSync(path)
  }

  async read(): Promise<Snapshot> {
    if (this.#sqlite === undefined) return this.#readAtOnce()
    const rows: Partial<Record<Table, unknown[]>> = {}
    for (const [table, statement] of this.#statements) rows[table] = statement.all()
    return rows as Snapshot
  }

  /** By one statement, since each takes its time to the server and back. */
  async #readAtOnce(): Promise<Snapshot> {
    const columns = READ.map(
      (table) =>
        sql`(select coalesce(json_agg(row_to_json(t)), '[]') from ${sql.table(table)} as t) as ${sql.ref(table)}`,
    )
    const { rows } = await sql<Snapshot>`select ${sql.join(columns)}`.execute(this.metadata.db)
    const [snapshot] = rows
    if (snapshot === undefined) throw new Error('the database answers nothing')
    return snapshot
  }

  /** The bytes of a stored file. */
  readBlob(digest: string): Buffer | undefined {
    const parsed = parseDigest(digest)
    if (parsed === undefined) throw new Error(`${digest} is no digest`)
    const path = blobPath(this.blobFolder, parsed)
    return existsSync(path) ? readFileSync(path) : undefined
  }

  drafts(): string[] {
    return this.#draftPaths()
  }

  #draftPaths(): string[] {
    const folder = join(this.blobFolder, INGEST_FOLDER)
    return existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []
  }

  #files(): string[] {
    const folder = join(this.blobFolder, 'sha256')
    if (!existsSync(folder)) return []
    return readdirSync(folder).flatMap((shard) =>
      readdirSync(join(folder, shard)).map((name) => join(folder, shard, name)),
    )
  }
}
