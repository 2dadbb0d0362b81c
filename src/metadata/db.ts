/** The handle that every function of this folder takes first. */
import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** A database, or a transaction of it. */
export type Db = Kysely<Database>
