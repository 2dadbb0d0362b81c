/** The real upstream client against a fake upstream on loopback, with a clock and a schedule that tests move. */
import assert from 'node:assert/strict'
import { UpstreamError, type UpstreamFailure } from '../../src/errors.ts'
import { type Digest, parseDigest } from '../../src/oci/digest.ts'
import { parseReference, type Reference } from '../../src/oci/reference.ts'
import type { UpstreamConfig } from '../../src/oci/registry.ts'
import { parseRepositoryName, type RepositoryName } from '../../src/oci/repository-name.ts'
import type { UpstreamEvent } from '../../src/upstream/upstream-event.ts'
import {
  createUpstreamPool,
  type HttpUpstreamPool,
  type UpstreamPoolOptions,
} from '../../src/upstream/upstream-pool.ts'
import type { FakeUpstream, TestLife } from './fake-upstream.ts'

export type UpstreamClient = {
  pool: HttpUpstreamPool
  events: UpstreamEvent[]
  /** Milliseconds since the epoch; set it to move the clock. */
  now: { ms: number }
  /** What is scheduled and not cancelled; calling `work` is time passing. */
  scheduled: { ms: number; work: () => void }[]
}

export function openUpstreamClient(life: TestLife, options: Partial<UpstreamPoolOptions> = {}): UpstreamClient {
  const now = { ms: 1_800_000_000_000 }
  const events: UpstreamEvent[] = []
  const scheduled: UpstreamClient['scheduled'] = []
  const pool = createUpstreamPool({
    clock: () => now.ms,
    ssrfAllowedHosts: ['127.0.0.0/8'],
    realmHosts: [],
    userAgent: 'entrepot/test',
    observe: (event) => events.push(event),
    schedule: (ms, work) => {
      const entry = { ms, work }
      scheduled.push(entry)
      return () => {
        const index = scheduled.indexOf(entry)
        if (index !== -1) scheduled.splice(index, 1)
      }
    },
    ...options,
  })
  life.after(() => pool.close())
  return { pool, events, now, scheduled }
}

export function configOf(upstream: FakeUpstream, changes: Partial<UpstreamConfig> = {}): UpstreamConfig {
  const scheme = upstream.caPem === undefined ? 'http' : 'https'
  return { scheme, host: upstream.host, caPem: upstream.caPem, credentials: { kind: 'anonymous' }, ...changes }
}

export function named(text: string): RepositoryName {
  const name = parseRepositoryName(text)
  assert.ok(name)
  return name
}

export function ref(text: string): Reference {
  const reference = parseReference(text)
  assert.ok(reference)
  return reference
}

export function digest(text: string): Digest {
  const parsed = parseDigest(text)
  assert.ok(parsed)
  return parsed
}

/** The UpstreamError that `work` must reject with. */
export async function assertFails(
  work: Promise<unknown>,
  failure: UpstreamFailure,
  outage = false,
): Promise<UpstreamError> {
  const error: unknown = await work.then(
    () => assert.fail('it succeeded'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof UpstreamError, String(error))
  assert.deepEqual([error.failure, error.outage], [failure, outage], error.message)
  return error
}
