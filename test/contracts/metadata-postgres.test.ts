import { after, before } from 'node:test'
import pg from 'pg'
import { openMetadata } from '../../src/metadata/open.ts'
import { type Postgres, skipWithoutPostgres, startPostgres } from '../real/postgres.ts'
import { type MetadataPlace, metadataContract } from './metadata-contract.ts'

const skip = skipWithoutPostgres()
let postgres: Postgres | undefined

before(async () => {
  if (skip === false) postgres = await startPostgres()
})
after(() => postgres?.stop())

metadataContract('PostgreSQL', makePlace, skip)

async function makePlace(): Promise<MetadataPlace> {
  if (postgres === undefined) throw new Error('the cluster has not been started')
  const { uri: adminUri } = postgres
  const uri = await postgres.createDatabase()
  return {
    open: () => openMetadata({ uri, dataFolder: '/nonexistent' }),
    async leftovers() {
      const database = new URL(uri).pathname.slice(1)
      const client = new pg.Client({ connectionString: adminUri })
      await client.connect()
      try {
        // PostgreSQL itself waits a moment for sessions that are ending, and refuses while others are there.
        await client.query(`drop database if exists ${database}`)
        return []
      } catch (error) {
        return [String(error)]
      } finally {
        await client.end()
      }
    },
    remove: async () => {}, // The database is gone; the cluster goes with the suite.
  }
}
