import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type MetadataPlace, metadataContract } from '../../test/contracts/metadata-contract.ts'
import { openMetadata } from './open.ts'
import { sqliteFileName } from './open-sqlite.ts'

metadataContract('SQLite', makePlace, false)

async function makePlace(): Promise<MetadataPlace> {
  const dataFolder = await mkdtemp(join(tmpdir(), 'entrepot-metadata-'))
  return {
    open: () => openMetadata({ uri: undefined, dataFolder }),
    // The log and its index are gone only when every connection was closed, the worker's too.
    leftovers: async () => (await readdir(dataFolder)).filter((name) => name !== sqliteFileName),
    remove: () => rm(dataFolder, { recursive: true }),
  }
}
