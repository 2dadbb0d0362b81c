import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Digest } from '../oci/digest.ts'
import { Transfers } from './transfers.ts'

const digest = `sha256:${'a'.repeat(64)}` as Digest
const other = `sha256:${'b'.repeat(64)}` as Digest

test('a blob is being received until the last of its transfers ends, and ending twice is ending once', () => {
  const transfers = new Transfers()
  const first = transfers.begin({ organizationId: 1, repositoryId: 7, digest })
  const second = transfers.begin({ organizationId: 1, repositoryId: 7, digest })
  first()
  first()
  assert.equal(transfers.isReceiving(1, 7, [other, digest]), true)
  second()
  assert.equal(transfers.isReceiving(1, 7, [other, digest]), false)
  assert.equal(transfers.activeDigests(1).size, 0)
})

test('a transfer counts in its own repository and organization', () => {
  const transfers = new Transfers()
  transfers.begin({ organizationId: 1, repositoryId: 7, digest })
  assert.equal(transfers.isReceiving(1, 8, [digest]), false)
  assert.equal(transfers.isReceiving(2, 7, [digest]), false)
  assert.deepEqual([...transfers.activeDigests(1)], [digest])
})

test('what was received is told once after its end, and as long as it goes on', () => {
  const transfers = new Transfers()
  const end = transfers.begin({ organizationId: 1, repositoryId: 7, digest })
  transfers.begin({ organizationId: 2, repositoryId: undefined, digest: other })
  assert.deepEqual(transfers.takeTouched(), [
    { organizationId: 1, digests: [digest] },
    { organizationId: 2, digests: [other] },
  ])
  end()
  assert.deepEqual(transfers.takeTouched(), [
    { organizationId: 1, digests: [digest] },
    { organizationId: 2, digests: [other] },
  ])
  assert.deepEqual(transfers.takeTouched(), [{ organizationId: 2, digests: [other] }])
})
