/** The real application in this process: real sockets, SQLite and files in a folder of its own, a clock that tests set. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startApp } from '../../src/app.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { FakeTags } from '../fakes/fake-repository.ts'
import { type FakeUpstream, type FakeUpstreamOptions, startFakeUpstream, type TestLife } from '../fakes/fake-upstream.ts'
import type { ClientAnswer, ClientRequest, OpenAnswer, RegistryClient } from './registry-client.ts'

/** The policy of an organization, by the names of the API. */
export type Policy = {
  revalidate_after_s?: number
  max_stale_s?: number | null
  refuse_when_denied?: boolean
  anonymous_pulls?: boolean
  frozen?: boolean
  allowed_repositories?: string[]
  denied_repositories?: string[]
  mirror_host?: string | null
  ca_pem?: string | null
}

export type CacheOptions = FakeUpstreamOptions & {
  expiration_s?: number
  /** After the host in `upstream_registry`. */
  namespace?: string
  login?: { username: string; password: string }
  policy?: Policy
  /** The upstream, when another organization already has it. */
  upstream?: FakeUpstream
}

const admin = { username: 'admin', password: 'correct horse battery' }
/** When the clock of each test begins. */
const startMs = Date.UTC(2030, 0, 1)

export class Entrepot {
  readonly folder: string
  readonly admin: RegistryClient
  #nowMs = startMs
  #organizations = 0
