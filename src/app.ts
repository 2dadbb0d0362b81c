/** The composition root: opens everything in order, starts it, and stops it in the opposite order. */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import Fastify from 'fastify'
import { sql } from 'kysely'
import { type Admin, createAdmin } from './admin/admin.ts'
import { type Clock, systemClock } from './base/clock.ts'
import { openFileClock } from './base/file-clock.ts'
import { everyMs, type Timer } from './base/timers.ts'
import { MINUTE_MS, SECOND_MS } from './base/units.ts'
import { assembleCache, type Cache, type CacheLimits } from './cache.ts'
import { assembleCollection, type Collection } from './collection.ts'
import { clientConfigOf } from './config/client-config.ts'
import type { Config } from './config/load.ts'
import { type Foundations, openFoundations } from './foundations.ts'
import { registerClientConfig } from './http/api/client-config-routes.ts'
import { API_SERVER_OPTIONS, registerApi } from './http/api/register-api.ts'
import { registerCsrfToken } from './http/api/session-routes.ts'
import { registerTokenService } from './http/api/token-service.ts'
import { makeClientOrigin } from './http/client-origin.ts'
import { registerHealth } from './http/health.ts'
import { startMetricsServer } from './http/metrics-server.ts'
import { createRegistryHandler } from './http/registry/registry-handler.ts'
import { type RunningServer, startServer } from './http/server.ts'
import { listLargestCharges } from './metadata/largest-charges.ts'
import { type Observation, openObservation } from './observation.ts'
import { resumeRotation } from './rotate-secrets.ts'
import { JOB_LIMITS } from './workers/collector-jobs.ts'
import { LEASE_LIMITS } from './workers/serving-lease.ts'

export type App = {
  url: string
  metricsUrl: string
  /** Lets the first user be created from elsewhere; undefined when there is one. */
  setupToken: string | undefined
  /** Running pulls finish, within SHUTDOWN_GRACE_SECONDS; then everything is written and closed. */
  close(): Promise<void>
}

/** For tests: a clock that they set, and limits that they do not have to wait for. */
export type TestOptions = { testClockFile?: string; testLimits?: CacheLimits }

/** Errors: what keeps it from starting, in words for the operator. */
export async function startApp(config: Config, options: TestOptions = {}): Promise<App> {
  const clock = options.testClockFile === undefined ? systemClock : openFileClock(options.testClockFile)
  const opened: (() => Promise<void> | void)[] = []
  const closeAll = async () => {
    for (const close of opened.splice(0).reverse()) await close()
  }
  try {
    return await open(config, clock, options.testLimits ?? {}, opened, closeAll)
  } catch (error) {
    await closeAll()
    throw error
  }
}

/** Each part that was opened adds how it is closed. */
async function open(
  config: Config,
  clock: Clock,
  limits: CacheLimits,
  opened: (() => Promise<void> | void)[],
  closeAll: () => Promise<void>,
): Promise<App> {
  const observation = openObservation(config.logLevel, clock)
  opened.push(() => observation.logger.close())
  const { report, metrics } = observation
  const foundations = await openFoundations(config, report)
  opened.push(() => foundations.metadata.close())
  opened.push(() => foundations.lease.release())
  const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
  const cache = assembleCache({ config, foundations, clock, version, limits, ...observation })
  opened.push(() => cache.stop())
  const collection = assembleCollection({ config, foundations, cache, clock, observation })
  opened.push(() => collection.stop())
  const setupToken = randomBytes(32).toString('base64url')
  const admin = await assembleAdmin(config, foundations, cache, collection, clock, observation, setupToken)
  opened.push(() => admin.flush())
  const metricsServer = await startMetricsServer({
    host: config.metricsHost,
    port: config.metricsPort,
    render: () => metrics.render(),
    contentType: metrics.contentType,
  })
  opened.push(() => metricsServer.close())
  addGauges(observation, foundations, cache)
  const server = await openServer(config, version, foundations, cache, admin, clock, observation, opened)
  cache.start()
  collection.start()
  opened.push(await resumeRotation(foundations, config, report))
  for (const timer of startWorkers(foundations, admin, collection, observation)) opened.push(() => timer.cancel())
  opened.push(() => server.close(config.shutdownGraceMs))
  return {
    url: server.url,
    metricsUrl: metricsServer.url,
    setupToken: (await admin.accounts.isUninitialized()) ? setupToken : undefined,
    close: closeAll,
  }
}

async function openServer(
  config: Config,
  version: string,
  foundations: Foundations,
  cache: Cache,
  admin: Admin,
  clock: Clock,
  { report, observeAccess: observe }: Observation,
  opened: (() => Promise<void> | void)[],
): Promise<RunningServer> {
  const origin = makeClientOrigin(config.trustedProxies)
  const { serverHostname, rootOrganization, preferredUrlScheme: preferredScheme } = config
  const settings = { serverHostname, preferredScheme, rootOrganization }
  const { authenticator, permission } = admin
  const registryHandler = createRegistryHandler({
    ...{ directory: cache.directory, authenticator, permission, clock, origin, settings, observe },
    report: (event, fields) => report(event, { ...fields }),
  })
  const fastify = Fastify({ ...API_SERVER_OPTIONS, trustProxy: [...config.trustedProxies] })
  opened.push(() => fastify.close())
  const onInternalError = (error: unknown) => report('internal_error', { error })
  await registerTokenService(fastify, { admin, onInternalError })
  await registerApi(fastify, { admin, onInternalError })
  registerCsrfToken(fastify, admin)
  const isUninitialized = () => admin.accounts.isUninitialized()
  registerClientConfig(fastify, { ...clientConfigOf(config), version, isUninitialized })
  registerHealth(fastify, {
    database: async () => (await sql`select 1`.execute(foundations.metadata.db)).rows.length === 1,
    disk_space: async () => ((await foundations.store.capacity())?.freeBytes ?? 1) > 0,
  })
  await fastify.ready()
  const { host, port, tls } = config
  const apiHandler = fastify.routing
  return startServer({
    ...{ host, port, tls, registryHandler, apiHandler, origin, observe },
    report: (event, fields) => report(event, { ...fields }),
  })
}

async function assembleAdmin(
  config: Config,
  { metadata, secretBox }: Foundations,
  cache: Cache,
  { shrinker }: Collection,
  clock: Clock,
  { report }: Observation,
  setupToken: string,
): Promise<Admin> {
  return createAdmin({
    ...{ metadata, secretBox, clock, setupToken },
    settings: {
      serverHostname: config.serverHostname,
      registryTokenSeconds: config.tokenLifetimeSeconds,
      hasProxyCache: config.featureProxyCache,
      hasAnonymousAccess: config.featureAnonymousAccess,
      hasUserInitialize: config.featureUserInitialize,
      hasUserCreation: config.featureUserCreation,
      hasDirectLogin: config.featureDirectLogin,
      hasAppTokens: config.featureAppSpecificTokens,
      appTokenSeconds: config.appTokenSeconds,
      freshLoginSeconds: config.freshLoginSeconds,
      preferredUrlScheme: config.preferredUrlScheme,
      hasSuperusersFullAccess: config.featureSuperusersFullAccess,
      hasQuotaManagement: config.featureQuotaManagement,
      canEditQuota: config.featureEditQuota,
      mayOrganizationAdminsEditQuota: config.featureOrganizationAdminsEditQuota,
      systemRejectBytes: config.defaultSystemRejectQuotaBytes,
      canChangeTagExpiration: config.featureChangeTagExpiration,
      superUsers: config.superUsers,
      globalReadonlySuperUsers: config.globalReadonlySuperUsers,
      defaultTagExpirationSeconds: config.defaultTagExpirationSeconds,
      tagExpirationOptionsSeconds: config.tagExpirationOptionsSeconds,
    },
    probeUpstream: (upstream) => cache.upstreams.probe(upstream),
    refuseUpstreamAddress: (target) => cache.upstreams.refuseAddress(target),
    onOrganizationChange: (name) => cache.directory.forget(name),
    onLimitChange: (organizationId) => void shrinker.shrink(organizationId),
    verification: cache.verification,
    transfers: cache.space.transfers,
    onTagsChanged: (_organization, repositoryId, tags) => {
      for (const tag of tags) cache.space.memory.forgetTag(repositoryId, tag)
    },
    writeUses: () => cache.space.uses.settle(),
    forgetRemoved: (removal) => cache.space.forgetRemoved([removal]),
    makeRoom: (tx, wanted) => cache.space.space.makeRoom(tx, wanted),
    report: (event, fields) => report(event, { ...fields }),
  })
}

const ADMIN_JOB_LIMITS = { flushMs: 10 * SECOND_MS, sweepMs: 10 * MINUTE_MS } as const

/** Organizations with a charge and a limit of their own in the metrics: those that are charged for most. */
const measuredOrganizationsMax = 1000

function addGauges({ metrics }: Observation, { store, metadata }: Foundations, cache: Cache): void {
  metrics.addGauge('entrepot_ingests_running', 'Blobs that are being received.', () => cache.ingests.running)
  metrics.addGauge('entrepot_store_free_bytes', 'Bytes that the disk of the blob store has left.', async () => {
    const capacity = await store.capacity()
    return capacity?.freeBytes ?? Number.NaN
  })
  const list = () => listLargestCharges(metadata.db, cache.space.limits, measuredOrganizationsMax)
  const chargeHelp = `Bytes that an organization is charged for; the ${measuredOrganizationsMax} largest.`
  metrics.addGauges('entrepot_charge_bytes', chargeHelp, 'organization', async () =>
    (await list()).map(({ organization, chargeBytes }) => [organization, chargeBytes] as const),
  )
  const limitHelp = 'Bytes that an organization may be charged for; absent without a limit.'
  metrics.addGauges('entrepot_limit_bytes', limitHelp, 'organization', async () =>
    (await list()).flatMap(({ organization, limitBytes }) =>
      limitBytes === undefined ? [] : [[organization, limitBytes] as const],
    ),
  )
}

function startWorkers({ lease }: Foundations, admin: Admin, collection: Collection, { report }: Observation): Timer[] {
  return [
    everyMs(ADMIN_JOB_LIMITS.flushMs, () => void admin.flush()),
    everyMs(ADMIN_JOB_LIMITS.sweepMs, async () => {
      try {
        await admin.sessions.sweep()
      } catch (error) {
        report('session_sweep_failed', { error })
      }
    }),
    everyMs(JOB_LIMITS.pollMs, () => void collection.runJobs()),
    everyMs(LEASE_LIMITS.heartbeatMs, async () => {
      try {
        if (await lease.heartbeat()) return
        // Another process believes that we have ended: two writers would be worse than none.
        report('lease_lost', {})
        process.kill(process.pid, 'SIGTERM')
      } catch (error) {
        report('heartbeat_failed', { error })
      }
    }),
  ]
}
