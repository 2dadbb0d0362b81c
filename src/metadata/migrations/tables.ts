/** Tables and indexes as values, which migrations create on either database. */
import { type CreateTableBuilder, type Kysely, type RawBuilder, sql } from 'kysely'
import type { Capabilities } from './capabilities.ts'

export type Column = 'identity' | 'integer' | 'integer?' | 'flag' | 'text' | 'text?' | 'bytes' | { integer: number }
export type Table = {
  columns: Readonly<Record<string, Column>>
  /** Absent when a column is the identity. */
  primaryKey?: readonly string[]
  /** Column to the table whose `id` (or named column) it holds. */
  references?: Readonly<Record<string, string>>
  /** Rows are short and found by the primary key. */
  isByKey?: boolean
}
export type Index = { table: string; columns: readonly string[]; isUnique?: boolean; where?: RawBuilder<boolean> }

/** Parents before children. Long columns go last: SQLite reads a row from its beginning. */
export async function createTables(
  db: Kysely<unknown>,
  capabilities: Capabilities,
  tables: Readonly<Record<string, Table>>,
): Promise<void> {
  for (const [name, table] of Object.entries(tables)) await createTable(db, capabilities, name, table)
}

/** Each foreign key wants an index that begins with it, so that deleting its target does not scan. */
export async function createIndexes(db: Kysely<unknown>, indexes: Readonly<Record<string, Index>>): Promise<void> {
  for (const [name, index] of Object.entries(indexes)) {
    const builder = db.schema
      .createIndex(name)
      .on(index.table)
      .columns([...index.columns])
    const unique = index.isUnique === true ? builder.unique() : builder
    await (index.where === undefined ? unique : unique.where(index.where)).execute()
  }
}

async function createTable(db: Kysely<unknown>, words: Capabilities, name: string, table: Table): Promise<void> {
  let builder: CreateTableBuilder<string, string> = db.schema.createTable(name)
  for (const [column, type] of Object.entries(table.columns)) builder = addColumn(builder, words, column, type)
  if (table.primaryKey !== undefined) builder = builder.addPrimaryKeyConstraint(`${name}_pk`, [...table.primaryKey])
  for (const [column, target] of Object.entries(table.references ?? {})) {
    const [parent = '', key = ''] = target.split('.')
    builder = builder.addForeignKeyConstraint(`${name}_${column}_fk`, [column], parent, [key])
  }
  const end = table.isByKey === true ? words.tableByKey : words.table
  await (end === undefined ? builder : builder.modifyEnd(end)).execute()
}

function addColumn(
  builder: CreateTableBuilder<string, string>,
  words: Capabilities,
  column: string,
  type: Column,
): CreateTableBuilder<string, string> {
  if (typeof type === 'object') {
    return builder.addColumn(column, words.integer, (definition) => definition.notNull().defaultTo(type.integer))
  }
  switch (type) {
    case 'identity':
      return builder.addColumn(column, words.identity)
    case 'integer':
      return builder.addColumn(column, words.integer, (definition) => definition.notNull())
    case 'integer?':
      return builder.addColumn(column, words.integer)
    case 'flag':
      return builder.addColumn(column, words.integer, (definition) =>
        definition
          .notNull()
          .defaultTo(0)
          .check(sql`${sql.ref(column)} in (0, 1)`),
      )
    case 'text':
      return builder.addColumn(column, words.text, (definition) => definition.notNull())
    case 'text?':
      return builder.addColumn(column, words.text)
    case 'bytes':
      return builder.addColumn(column, words.bytes, (definition) => definition.notNull())
    default:
      throw new Error(`unhandled column type: ${type satisfies never}`)
  }
}
