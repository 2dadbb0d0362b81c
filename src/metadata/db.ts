/** The handle that every function of this folder takes first. */
import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** A database, or a transaction of it. */
export type Db = Kysely<Database>

export type MetadataDialect = 'sqlite' | 'postgres'

/** Told what the operator should know and no caller can be told: lost connections, a checkpointer that ended. */
export type MetadataEvents = (event: string, fields: object) => void

/** A database that is open but may have an old schema. */
export type OpenDatabase = { db: Db; dialect: MetadataDialect; close(): Promise<void> }
