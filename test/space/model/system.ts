/** The parts that keep space, wired as in the server but without HTTP, over one database and folder. */
import type { Organizations } from '../../../src/admin/organizations.ts'
import { Pins } from '../../../src/admin/pins.ts'
import type { AdminContext } from '../../../src/admin/settings.ts'
import { type RepositoryCall, Tags } from '../../../src/admin/tags.ts'
import { systemClock } from '../../../src/base/clock.ts'
import { DAY_MS, MINUTE_MS } from '../../../src/base/units.ts'
import type { BlobStore } from '../../../src/blobs/blob-store.ts'
import { openFileBlobStore } from '../../../src/blobs/file-blob-store.ts'
import { assembleSpace } from '../../../src/cache-space.ts'
import { type Config, loadConfig } from '../../../src/config/load.ts'
import type { Foundations, Report } from '../../../src/foundations.ts'
import { lockUsage } from '../../../src/metadata/ledger.ts'
import type { Metadata } from '../../../src/metadata/open.ts'
import { findOrganization } from '../../../src/metadata/organizations.ts'
import { touchReservations } from '../../../src/metadata/reservations.ts'
import { Ingests } from '../../../src/registry/ingests.ts'
import { OrganizationDirectory } from '../../../src/registry/organization-directory.ts'
import { StoreRoom } from '../../../src/registry/store-room.ts'
import { ClockGuard } from '../../../src/workers/clock-guard.ts'
import { Collector } from '../../../src/workers/collector.ts'
import { runDueJobs } from '../../../src/workers/collector-jobs.ts'
import { OrphanSweep } from '../../../src/workers/orphan-sweep.ts'
import { Shrinker } from '../../../src/workers/shrinker.ts'
import { Life, mortalMetadata, mortalStore } from './crash.ts'
import type { ModelUpstream } from './model-upstream.ts'
import type { Place } from './place.ts'
import { Activity } from './turns.ts'

/** Of processes: no two have the same. */
let leases = 0
let days = 1

export type SystemOptions = {
  place: Place
  clock: () => number
  upstreamOf: (organization: string) => ModelUpstream
  storageLimitBytes: number | undefined
}

export type System = Awaited<ReturnType<typeof startSystem>>

/** One process, from its start on; it ends with its `life`. */
export async function startSystem(options: SystemOptions) {
  const { place, clock } = options
  const life = new Life()
  const activity = new Activity()
  const events: { event: string; fields: Record<string, unknown> }[] = []
  const report: Report = (event, fields) => events.push({ event, fields })
  leases += 1
  const leaseId = `model${leases}`
  const files = await openFileBlobStore({
    folder: place.blobFolder,
    leaseId,
    afterPublishStep: async () => life.instant(),
  })
  await files.sweep((id) => id !== leaseId)
  const metadata = mortalMetadata(place.metadata, life, activity)
  const store = mortalStore(files, life, activity)
  const room = new StoreRoom(store, 0, report)
  const config: Config = {
    ...loadConfig({ env: { ENTREPOT_DATA: place.blobFolder }, readFile: () => undefined }),
    storageLimitBytes: options.storageLimitBytes,
  }
  const foundations = { metadata, store, room } as Foundations
  const cacheSpace = assembleSpace({ config, foundations, clock, report, onEvent: report })
  const { shelf, transfers, space, uses, memory } = cacheSpace
  const hasRoom = () => room.hasRoomFor(0)
  const ingests = new Ingests({ shelf, space, transfers, hasRoom, delayMs: turn, onEvent: report })
  const directory = new OrganizationDirectory({
    ...{ metadata, memory, uses, clock, space, report },
    delayMs: (_ms, signal) => never(signal),
    openUpstream: ({ name }) => options.upstreamOf(name),
    blobs: { shelf, ingests, transfers, clock, completion: undefined },
  })
  const work = assembleWork({ metadata, store, clock, report, leaseId }, cacheSpace)
  const context = {
    ...{ metadata, clock, report },
    settings: { hasQuotaManagement: true, systemRejectBytes: undefined },
    onTagsChanged: (_name: string, repositoryId: number, tags: readonly string[]) => {
      for (const tag of tags) memory.forgetTag(repositoryId, tag)
    },
    writeUses: () => uses.flush(),
    forgetRemoved: (removal) => cacheSpace.forgetRemoved([removal]),
  } as Partial<AdminContext> as AdminContext
  const organizations = permissiveOrganizations(metadata)
  return {
    ...{ life, activity, events, metadata, uses, transfers, ingests, directory, memory },
    ...work,
    tags: new Tags(context, organizations),
    pins: new Pins(context, organizations),
    /** Nothing of it runs any more. */
    async settle(): Promise<void> {
      await ingests.drain()
      await work.shrinker.settled()
      await shelf.drain()
      await activity.quiet()
    },
  }
}

/** What runs beside the requests. */
function assembleWork(
  base: { metadata: Metadata; store: BlobStore; clock: () => number; report: Report; leaseId: string },
  cacheSpace: ReturnType<typeof assembleSpace>,
) {
  const { metadata, clock } = base
  const { limits, memory, uses, shelf, transfers, onEvicted } = cacheSpace
  const shared = { ...base, memory, uses, shelf, transfers }
  const guard = new ClockGuard(base)
  const shrinker = new Shrinker({ ...shared, limits, pause: turn, onEvicted })
  // Files without a row are looked for in each run, and are old enough: whenever it is asked, a day has passed.
  const realClock = () => {
    days += 1
    return systemClock() + days * DAY_MS
  }
  const orphans = new OrphanSweep({ ...shared, realClock })
  const collector = new Collector({
    ...shared,
    ...{ guard, shrinker, orphans, collectsExpired: true, delayMs: turn },
    // The lease of a process that died has ended when the next one starts.
    realClock: () => systemClock() + leases * 10 * MINUTE_MS,
    holder: base.leaseId,
    runJobs: () =>
      runDueJobs({
        ...base,
        writeUses: () => uses.flush(),
        onTagsChanged: (repositoryId, names) => {
          for (const name of names) memory.forgetTag(repositoryId, name)
        },
      }),
    touchActive: async () => {
      for (const { organizationId, digests } of transfers.takeTouched()) {
        await metadata.transaction(async (tx) => {
          await lockUsage(tx, organizationId)
          await touchReservations(tx, organizationId, digests, clock())
        })
      }
    },
    events: { ran: () => {}, reservationsEnded: () => {}, historyRemoved: () => {} },
    onCollected: (removal) => cacheSpace.forgetRemoved([removal]),
  })
  return { guard, shrinker, collector }
}

/** Who may do what is tested elsewhere. */
function permissiveOrganizations({ db }: Metadata): Organizations {
  const administrator = { kind: 'account', account: { id: 1, username: 'somebody' } }
  const find = async (name: string) => {
    const organization = await findOrganization(db, name)
    if (organization === undefined) throw new Error(`there is no organization ${name}`)
    return organization
  }
  return {
    administered: async (_caller: unknown, name: string) => ({ organization: await find(name), administrator }),
    seenByMember: (_caller: unknown, name: string) => find(name),
  } as unknown as Organizations
}

export function callOn(organization: string, repository: string): RepositoryCall {
  const key = { organization, repository } as RepositoryCall['key']
  return { caller: { kind: 'anonymous' }, address: '', key }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function never(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason)))
}
