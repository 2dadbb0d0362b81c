/** Many rows in several statements. */

/** SQLite takes 32766 parameters in a statement, PostgreSQL 65535; no row of ours has more than 60 columns. */
export const rowsPerStatement = 500

/** The rows in their order, as many at a time as one statement takes. */
export function inBatches<Row>(rows: readonly Row[]): Row[][] {
  const batches: Row[][] = []
  for (let from = 0; from < rows.length; from += rowsPerStatement)
    batches.push(rows.slice(from, from + rowsPerStatement))
  return batches
}
