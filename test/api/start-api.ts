/** The API and the token service over real SQLite in a folder of its own, with a settable clock and probe. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify, { type FastifyInstance, type LightMyRequestResponse } from 'fastify'
import { type Admin, createAdmin } from '../../src/admin/admin.ts'
import type { AdminSettings, ProbeUpstream } from '../../src/admin/settings.ts'
import { SecretBox } from '../../src/base/secret-box.ts'
import { API_SERVER_OPTIONS, registerApi } from '../../src/http/api/register-api.ts'
import { registerCsrfToken } from '../../src/http/api/session-routes.ts'
import { registerTokenService } from '../../src/http/api/token-service.ts'
import { type Metadata, openMetadata } from '../../src/metadata/open.ts'
import { Transfers } from '../../src/registry/transfers.ts'
import type { VerificationRequest } from '../../src/registry/verification.ts'
import { IDLE } from '../../src/registry/verification-state.ts'

export const SETUP_TOKEN = 'set-up-token-of-this-test'
export const HOSTNAME = 'registry.test:8080'
export const PASSWORD = 'correct horse battery'

const SETTINGS: AdminSettings = {
  serverHostname: HOSTNAME,
  registryTokenSeconds: 300,
  hasProxyCache: true,
  hasAnonymousAccess: true,
  hasUserInitialize: false,
  hasUserCreation: true,
  hasDirectLogin: true,
  hasAppTokens: true,
  appTokenSeconds: undefined,
  freshLoginSeconds: 600,
  preferredUrlScheme: undefined,
  hasSuperusersFullAccess: true,
  hasQuotaManagement: true,
  canEditQuota: true,
  mayOrganizationAdminsEditQuota: false,
  systemRejectBytes: undefined,
  canChangeTagExpiration: true,
  superUsers: [],
  globalReadonlySuperUsers: ['auditor'],
  defaultTagExpirationSeconds: 1_209_600,
  tagExpirationOptionsSeconds: [0, 86_400, 604_800, 1_209_600, 2_419_200],
}

export type ApiRequest = {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'PATCH' | 'OPTIONS' | 'HEAD'
  path: string
  /** Sent as JSON. */
  body?: unknown
  /** Sent as it is. */
  payload?: string | Buffer
  headers?: Record<string, string>
  from?: string
  as?: string
}

export class ApiUnderTest {
  readonly fastify: FastifyInstance
  readonly admin: Admin
  readonly metadata: Metadata
  readonly secretBox: SecretBox
  readonly time: { nowMs: number }
  probe: ProbeUpstream = async () => 'anonymous'
  readonly changedOrganizations: string[] = []
  readonly changedLimits: number[] = []
  readonly reports: { event: string; fields: Readonly<Record<string, unknown>> }[] = []
  readonly internalErrors: unknown[] = []
  /** Requests of verifications; while one is there, another is refused. */
  readonly verifications: VerificationRequest[] = []

  constructor(parts: Pick<ApiUnderTest, 'fastify' | 'metadata' | 'admin' | 'time' | 'secretBox'>) {
    this.fastify = parts.fastify
    this.metadata = parts.metadata
    this.admin = parts.admin
    this.time = parts.time
    this.secretBox = parts.secretBox
  }

  /** `as`: a user name, signed in with PASSWORD; or a whole header when it has a blank. */
  async send(request: ApiRequest): Promise<LightMyRequestResponse> {
    const authorization = request.as === undefined ? {} : { authorization: headerOf(request.as) }
    const json = request.body === undefined ? {} : { 'content-type': 'application/json' }
    const payload = request.body === undefined ? request.payload : JSON.stringify(request.body)
    return this.fastify.inject({
      method: request.method,
      url: request.path,
      headers: { host: '127.0.0.1:8080', ...json, ...authorization, ...request.headers },
      remoteAddress: request.from ?? '127.0.0.1',
      ...(payload === undefined ? {} : { payload }),
    })
  }

  /** The first user `admin`, and an access token of every scope. */
  async initialize(): Promise<string> {
    const body = { username: 'admin', password: PASSWORD, email: 'admin@example.com', access_token: true }
    const answer = await this.send({ method: 'POST', path: '/api/v1/user/initialize', body })
    return answer.json().access_token
  }

  async createUser(username: string): Promise<void> {
    const body = { username, password: PASSWORD }
    await this.send({ method: 'POST', path: '/api/v1/superuser/users/', as: 'admin', body })
  }

  async createOrganization(name: string, as = 'admin'): Promise<void> {
    await this.send({ method: 'POST', path: '/api/v1/organization/', as, body: { name } })
  }
}

export function basic(username: string, secret: string): string {
  return `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`
}

function headerOf(as: string): string {
  return as.includes(' ') ? as : basic(as, PASSWORD)
}

export async function startApi(
  t: { after: (work: () => Promise<void>) => void },
  settings: Partial<AdminSettings> = {},
): Promise<ApiUnderTest> {
  const dataFolder = await mkdtemp(join(tmpdir(), 'entrepot-api-'))
  const metadata = await openMetadata({ uri: undefined, dataFolder })
  const fastify = Fastify(API_SERVER_OPTIONS)
  const secretBox = new SecretBox(randomBytes(32))
  const time = { nowMs: Date.UTC(2030, 0, 1) }
  t.after(async () => {
    await fastify.close()
    await metadata.close()
    await rm(dataFolder, { recursive: true })
  })
  const admin = await createAdmin({
    metadata,
    secretBox,
    clock: () => time.nowMs,
    settings: { ...SETTINGS, ...settings },
    setupToken: SETUP_TOKEN,
    probeUpstream: (config) => api.probe(config),
    refuseUpstreamAddress: ({ host, port }) =>
      host.startsWith('10.') ? { kind: 'private', line: `${host}:${port}` } : undefined,
    onOrganizationChange: (name) => api.changedOrganizations.push(name),
    onLimitChange: (organizationId) => api.changedLimits.push(organizationId),
    transfers: new Transfers(),
    verification: {
      start: (request) => api.verifications.push(request) === 1,
      state: () => IDLE,
      cancel: async () => {
        api.verifications.length = 0
      },
    },
    report: (event, fields) => api.reports.push({ event, fields }),
  })
  const api = new ApiUnderTest({ fastify, metadata, admin, time, secretBox })
  const onInternalError = (error: unknown) => api.internalErrors.push(error)
  await registerApi(fastify, { admin, onInternalError })
  registerCsrfToken(fastify, admin)
  await registerTokenService(fastify, { admin, onInternalError })
  return api
}
