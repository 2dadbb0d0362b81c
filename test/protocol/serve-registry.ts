/** The `/v2` server over real sockets, with organizations, credentials and content that are symbols in memory. */
import type { Socket } from 'node:net'
import { connect } from 'node:net'
import type { Authenticator, Identity, Principal, PullPermission } from '../../src/admin/identity.ts'
import type { Clock } from '../../src/base/clock.ts'
import { RegistryError } from '../../src/errors.ts'
import type { AccessRecord } from '../../src/http/access-record.ts'
import { makeClientOrigin } from '../../src/http/client-origin.ts'
import type { RegistryDeps, RegistrySettings } from '../../src/http/registry/registry-deps.ts'
import { createRegistryHandler } from '../../src/http/registry/registry-handler.ts'
import { type RunningServer, startServer } from '../../src/http/server.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { OCI_MANIFEST } from '../../src/oci/media-type.ts'
import { formatReference, type Tag } from '../../src/oci/reference.ts'
import type { Referrer, RequestedRange } from '../../src/oci/registry.ts'
import type { HotManifest, RegistryDirectory } from '../../src/registry/directory.ts'
import type { BlobSink, OrganizationRegistry, Provenance, ServedBlob } from '../../src/registry/served.ts'

export const nowMs = 1_000_000
export const manifestBytes = Buffer.from('{"schemaVersion":2,"layers":[]}')
export const manifestDigest = digestOf(manifestBytes)
export const blobBytes = Buffer.alloc(300_000, 'layer')
export const blobDigest = digestOf(blobBytes)
export const HIT: Provenance = { outcome: 'hit', confirmedAtMs: nowMs - 5_500, staleReason: undefined, upstreamMs: 0 }

/** `user:name` may pull from `open` and `own`; anonymous from `open`; nobody from `hidden`. */
export const basic = `Basic ${Buffer.from('ann:right').toString('base64')}`

type Pipe = (sink: BlobSink, bytes: Buffer) => Promise<void>

/** What a test changes before it asks. */
export class FakeContent {
  provenance: Provenance = HIT
  isHot = false
  touches = 0
  closed = 0
  tags: string[] = ['a', 'b', 'c', 'd', 'e']
  referrers: Referrer[] = []
  failure: unknown
  isBlobSized = true
  calls: string[] = []
  pipe: Pipe = async (sink, bytes) => {
    for (let start = 0; start < bytes.byteLength; start += 65_536) {
      if (!(await sink.write(bytes.subarray(start, start + 65_536)))) return
    }
  }

  registry(organization: string): OrganizationRegistry {
    const enter = (call: string) => {
      this.calls.push(`${organization} ${call}`)
      if (this.failure !== undefined) throw this.failure
    }
    const descriptor = { mediaType: OCI_MANIFEST, digest: manifestDigest, size: manifestBytes.byteLength }
    return {
      resolveManifest: async (name, reference) => {
        enter(`resolveManifest ${name} ${formatReference(reference)}`)
        return { descriptor, provenance: this.provenance }
      },
      getManifest: async (name, reference) => {
        enter(`getManifest ${name} ${formatReference(reference)}`)
        return { descriptor, provenance: this.provenance, bytes: manifestBytes }
      },
      resolveBlob: async (name, digest) => {
        enter(`resolveBlob ${name} ${digest}`)
        return { digest, size: blobBytes.byteLength, provenance: this.provenance }
      },
      openBlob: async (name, digest, range) => {
        enter(`openBlob ${name} ${JSON.stringify(range)}`)
        return this.#open(digest, range)
      },
      listTags: async (name) => {
        enter(`listTags ${name}`)
        return { tags: this.tags as Tag[], isTruncated: false }
      },
      listReferrers: async (name) => {
        enter(`listReferrers ${name}`)
        return this.referrers
      },
    }
  }

  #open(digest: Digest, wanted: RequestedRange | undefined): ServedBlob | { kind: 'unsatisfiable'; size: number } {
    const size = blobBytes.byteLength
    const range = wanted && cut(wanted, size)
    if (wanted !== undefined && range === undefined) return { kind: 'unsatisfiable', size }
    const bytes = range === undefined ? blobBytes : blobBytes.subarray(range.start, range.end + 1)
    return {
      digest,
      size: this.isBlobSized ? size : undefined,
      range,
      provenance: this.provenance,
      pipe: (sink) => this.pipe(sink, bytes),
      close: () => {
        this.closed++
      },
    }
  }
}

function cut(wanted: RequestedRange, size: number): { start: number; end: number } | undefined {
  if ('suffixLength' in wanted) {
    return wanted.suffixLength === 0 ? undefined : { start: Math.max(0, size - wanted.suffixLength), end: size - 1 }
  }
  if (wanted.start >= size) return undefined
  return { start: wanted.start, end: Math.min(wanted.end ?? size - 1, size - 1) }
}

const ORGANIZATIONS = new Set(['open', 'own', 'hidden'])

function fakeDirectory(content: FakeContent): RegistryDirectory {
  const hot = (): HotManifest => ({
    sizeBytes: manifestBytes.byteLength,
    latin1: manifestBytes.toString('latin1'),
    headers: [
      ['Content-Type', OCI_MANIFEST, 'Content-Length', String(manifestBytes.byteLength)],
      ['Docker-Content-Digest', manifestDigest, 'ETag', `"${manifestDigest}"`],
      ['Docker-Distribution-Api-Version', 'registry/2.0', 'X-Content-Type-Options', 'nosniff'],
    ].flat(),
    provenance: content.provenance,
    touch: () => {
      content.touches++
    },
  })
  const names = ['hidden/secret', 'open/a', 'open/b', 'own/c']
  return {
    recallManifest: (organization) => (content.isHot && ORGANIZATIONS.has(organization) ? hot() : undefined),
    find: async (name) =>
      ORGANIZATIONS.has(name) ? { name, registry: content.registry(name), isProxy: true } : undefined,
    findMirror: async (host) => (host === 'docker.io' ? 'own' : undefined),
    isUpstreamOf: async (organization, host) => organization === 'own' && host === 'docker.io',
    listRepositories: async (maySee, { after = '', limit }) => {
      const seen: string[] = []
      for (const name of names) if (await maySee(name.split('/')[0] ?? '')) seen.push(name)
      const rest = seen.filter((name) => name > after)
      return { names: rest.slice(0, limit), isComplete: rest.length <= limit }
    },
  }
}

const ann: Principal = { kind: 'account', accountId: 1, username: 'ann' }

/** `Bearer <scope name>,<scope name>` is a token for those. */
function identify(header: string | undefined): Identity | undefined {
  if (header === undefined) return { principal: { kind: 'anonymous' }, grants: undefined }
  if (header === basic) return { principal: ann, grants: undefined }
  const names = /^Bearer ok:(.*)$/.exec(header)?.[1]
  if (names === undefined) return undefined
  return { principal: ann, grants: new Map(names.split(',').map((name) => [name, ['pull', '*']])) }
}

const AUTHENTICATOR: Authenticator = {
  recall: identify,
  authenticate: async (header) => {
    const identity = identify(header)
    if (identity === undefined) throw new RegistryError('UNAUTHORIZED')
    return identity
  },
}

const canPull = (principal: Principal, organization: string) =>
  organization === 'open' || (organization === 'own' && principal.kind === 'account')
const PERMISSION: PullPermission = {
  recall: canPull,
  canPull: async (principal, organization) => canPull(principal, organization),
}

export type ServedRegistry = {
  server: RunningServer
  content: FakeContent
  records: AccessRecord[]
  reports: { event: string; fields: Readonly<Record<string, unknown>> }[]
  /** Resolves when so many requests are over. */
  observed(count: number): Promise<void>
  /** Everything that comes back for these bytes, until the server ends it. */
  raw(bytes: string): Promise<string>
  connect(): Socket
}

export async function serveRegistry(
  life: { after: (work: () => Promise<void>) => void },
  settings: Partial<RegistrySettings & { trustedProxies: string[] }> = {},
): Promise<ServedRegistry> {
  const content = new FakeContent()
  const records: AccessRecord[] = []
  const reports: ServedRegistry['reports'] = []
  let wake = () => {}
  const observe = (record: AccessRecord) => {
    records.push(record)
    wake()
  }
  const clock: Clock = () => nowMs
  const origin = makeClientOrigin(settings.trustedProxies ?? [])
  const report: RegistryDeps['report'] = (event, fields) => void reports.push({ event, fields })
  const registryHandler = createRegistryHandler({
    directory: fakeDirectory(content),
    authenticator: AUTHENTICATOR,
    permission: PERMISSION,
    clock,
    origin,
    observe,
    report,
    settings: {
      serverHostname: 'registry.example.com',
      preferredScheme: undefined,
      rootOrganization: undefined,
      ...settings,
    },
  })
  const server = await startServer({
    host: '127.0.0.1',
    port: 0,
    tls: undefined,
    registryHandler,
    apiHandler: (_request, response) => void response.writeHead(404).end(),
    origin,
    observe,
    report,
  })
  life.after(() => server.close(0))
  const open = () => connect(Number(new URL(server.url).port), '127.0.0.1')
  return {
    server,
    content,
    records,
    reports,
    connect: open,
    async observed(count) {
      while (records.length < count) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
    raw: (bytes) => readAll(open(), bytes),
  }
}

/** Resolves when the connection is over, however it ends. */
export function readAll(socket: Socket, bytes: string): Promise<string> {
  const chunks: Buffer[] = []
  socket.write(bytes)
  return new Promise((resolve) => {
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => {})
    socket.once('close', () => resolve(Buffer.concat(chunks).toString('latin1')))
  })
}
