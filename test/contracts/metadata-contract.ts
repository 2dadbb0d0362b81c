/** What the metadata must do on every database. A database's test file hands in how to open one. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Metadata } from '../../src/metadata/open.ts'
import { ACCESS_CASES } from './metadata-access-cases.ts'
import { BLOB_CASES } from './metadata-blob-cases.ts'
import type { MetadataCase } from './metadata-case.ts'
import { MANIFEST_CASES } from './metadata-manifest-cases.ts'
import { ORGANIZATION_CASES } from './metadata-organization-cases.ts'
import { PEOPLE_CASES } from './metadata-people-cases.ts'
import { PROCESS_CASES } from './metadata-process-cases.ts'
import { QUOTA_CASES } from './metadata-quota-cases.ts'
import { SESSION_CASES } from './metadata-session-cases.ts'
import { SPACE_CASES } from './metadata-space-cases.ts'
import { TAG_CASES } from './metadata-tag-cases.ts'
import { VERIFICATION_CASES } from './metadata-verification-cases.ts'

/** One empty database. */
export type MetadataPlace = {
  open(): Promise<Metadata>
  /** Names of what is left (files, sessions) when everything opened was closed; the suite fails when there is any. */
  leftovers(): Promise<string[]>
  remove(): Promise<void>
}

const SHARED_CASES: readonly MetadataCase[] = [
  ...ORGANIZATION_CASES,
  ...MANIFEST_CASES,
  ...TAG_CASES,
  ...BLOB_CASES,
  ...SPACE_CASES,
  ...ACCESS_CASES,
  ...PEOPLE_CASES,
  ...SESSION_CASES,
  ...QUOTA_CASES,
  ...VERIFICATION_CASES,
]

/** Cases on one database keep apart by their organizations; those about the whole of a database get one each. */
export function metadataContract(name: string, makePlace: () => Promise<MetadataPlace>, skip: string | false): void {
  describe(`${name} metadata`, { skip }, () => {
    let place: MetadataPlace
    let metadata: Metadata

    before(async () => {
      place = await makePlace()
      metadata = await place.open()
    })

    after(async () => {
      await metadata.close()
      const leftovers = await place.leftovers()
      await place.remove()
      assert.deepEqual(leftovers, [], 'something is left behind')
    })

    for (const { title, check } of SHARED_CASES) test(title, () => check(metadata))

    for (const { title, check } of PROCESS_CASES) {
      test(title, async () => {
        const own = await makePlace()
        try {
          await check(own)
          assert.deepEqual(await own.leftovers(), [], 'something is left behind')
        } finally {
          await own.remove()
        }
      })
    }
  })
}
