/** A server with one of each kind of person, and an organization with content, for asking it everything. */
import { createHash, randomBytes } from 'node:crypto'
import type { Person } from '../../src/admin/permission-rules.ts'
import { SCOPES, type Scope } from '../../src/admin/scopes.ts'
import type { AdminSettings } from '../../src/admin/settings.ts'
import { makeClientOrigin } from '../../src/http/client-origin.ts'
import { createRegistryHandler } from '../../src/http/registry/registry-handler.ts'
import { startServer } from '../../src/http/server.ts'
import { type Account, createAccount, findAccount } from '../../src/metadata/accounts.ts'
import { createOrganization, type Organization } from '../../src/metadata/organizations.ts'
import { insertProxyCache } from '../../src/metadata/proxy-caches.ts'
import { createQuota, createQuotaLimit } from '../../src/metadata/quotas.ts'
import { ensureRepository, type Repository } from '../../src/metadata/repositories.ts'
import { setRepositoryPermission } from '../../src/metadata/repository-permissions.ts'
import { insertRobot, setRobotToken } from '../../src/metadata/robots.ts'
import { pointTag } from '../../src/metadata/tags.ts'
import { addTeamMember, createTeam, findTeam } from '../../src/metadata/teams.ts'
import type { RegistryDirectory } from '../../src/registry/directory.ts'
import { type ApiUnderTest, basic, startApi } from '../api/start-api.ts'
import { makeImage, store, type TestManifest } from '../contracts/metadata-case.ts'
import { FakeContent } from '../protocol/serve-registry.ts'

export const ORGANIZATION = 'acme'
export const REPOSITORY = 'app/web'
/** Administers every organization and is a superuser, so that nobody under test is the last of either. */
export const ROOT = 'root'

/** Names without `+` are users'. */
const NAMES: Readonly<Record<Exclude<Person, 'anonymous'>, string>> = {
  'other user': 'stranger',
  member: 'member',
  creator: 'creator',
  admin: 'boss',
  'robot without team': 'acme+lone',
  'robot in a team': 'acme+crew',
  superuser: 'super',
  'superuser without full access': 'super',
  'read-only superuser': 'auditor',
  'user with *read*': 'reader',
  'user with *write*': 'writer',
  'user with *admin*': 'keeper',
  'robot with *read*': 'acme+pull',
}

const TEAM_OF = {
  member: 'members',
  creator: 'creators',
  admin: 'owners',
  'robot in a team': 'members',
} as const satisfies Partial<Record<Person, string>>

const ROLE_IN_REPOSITORY = {
  'user with *read*': 'read',
  'user with *write*': 'write',
  'user with *admin*': 'admin',
  'robot with *read*': 'read',
} as const satisfies Partial<Record<Person, string>>

export type Answer = { status: number; text: string; headers: Headers }

export class World {
  readonly api: ApiUnderTest
  readonly origin: string
  readonly image: TestManifest
  /** What requests named that are refused. */
  readonly kept = new Map<string, Readonly<Record<string, string>>>()
  organization: Organization | undefined
  repository: Repository | undefined
  readonly #people: readonly Person[]
  readonly #authorizations = new Map<string, string>()
  #names = 0

  constructor(api: ApiUnderTest, origin: string, people: readonly Person[], image: TestManifest) {
    this.api = api
    this.origin = origin
    this.#people = people
    this.image = image
  }

  /** A name that nothing has yet. */
  freshName(): string {
    return `fresh${++this.#names}`
  }

  /** The account of a person, made when it is not there, and in the teams of the organization. */
  async enroll(person: Exclude<Person, 'anonymous'>): Promise<Account> {
    const { db } = this.api.metadata
    const username = NAMES[person]
    const found = await findAccount(db, username)
    if (found !== undefined) return found
    const nowMs = this.api.time.nowMs
    if (username.includes('+')) {
      const owner = { kind: 'organization', id: this.organization?.id ?? 0 } as const
      await insertRobot(db, { owner, username, description: '', unstructuredMetadata: '{}', nowMs })
    } else await createAccount(db, { username, passwordHash: undefined, isSuperuser: username === 'super', nowMs })
    const account = await findAccount(db, username)
    if (account === undefined) throw new Error(`${username} is not there`)
    if (this.organization !== undefined) await this.#admit(this.organization, person, account)
    if (this.repository !== undefined && person in ROLE_IN_REPOSITORY) {
      const role = ROLE_IN_REPOSITORY[person as keyof typeof ROLE_IN_REPOSITORY]
      const grantee = { kind: 'account', id: account.id } as const
      await setRepositoryPermission(db, { repositoryId: this.repository.id, grantee, role, nowMs })
    }
    this.api.admin.epoch.advance()
    return account
  }

  /** An `Authorization` header of a person for the API; undefined for nobody. A robot has its own token only. */
  async authorize(person: Person, scopes: readonly Scope[] = SCOPES): Promise<string | undefined> {
    if (person === 'anonymous') return undefined
    const account = await this.enroll(person)
    const key = `${account.id} ${scopes.join(' ')}`
    const known = this.#authorizations.get(key)
    if (known !== undefined) return known
    const { admin, metadata } = this.api
    const made =
      account.kind === 'robot'
        ? basic(account.username, await this.#robotToken(account))
        : `Bearer ${await admin.accessTokens.create(metadata.db, { accountId: account.id, title: 'test', scopes })}`
    this.#authorizations.set(key, made)
    return made
  }

  /** The same for the registry, where access tokens are passwords. */
  async authorizeRegistry(person: Person, scopes?: readonly Scope[]): Promise<string | undefined> {
    const header = await this.authorize(person, scopes)
    return header?.startsWith('Bearer ') ? basic('$oauthtoken', header.slice('Bearer '.length)) : header
  }

  /** An organization of the same people. */
  async makeOrganization(options: { isProxy?: boolean; limitBytes?: number } = {}, name = this.freshName()) {
    const { db } = this.api.metadata
    const nowMs = this.api.time.nowMs
    const organization = await createOrganization(db, { name, nowMs, tagExpirationSeconds: 86_400 })
    const teams = { owners: 'admin', creators: 'creator', members: 'member' } as const
    for (const [team, role] of Object.entries(teams)) {
      await createTeam(db, { organizationId: organization.id, name: team, role, description: '', nowMs })
    }
    await this.#join(organization, 'owners', await rootOf(this.api))
    if (options.isProxy === true) await addUpstream(this.api, organization)
    const { limitBytes } = options
    const quota = limitBytes && (await createQuota(db, { organizationId: organization.id, limitBytes, nowMs }))
    if (this.repository !== undefined) {
      for (const person of this.#people) {
        const isUser = person !== 'anonymous' && !NAMES[person].includes('+')
        if (isUser) await this.#admit(organization, person, await this.enroll(person))
      }
    }
    this.api.admin.epoch.advance()
    if (!quota) return { organization: name, quota: '', limit: '' }
    const limit = await createQuotaLimit(db, quota.id, { type: 'Warning', percent: 50 })
    return { organization: name, quota: String(quota.id), limit: String(limit.id) }
  }

  /** A tag that nobody has pinned or changed, of an image of its own. */
  async makeTag(): Promise<{ tag: string; digest: string }> {
    if (this.repository === undefined) throw new Error('there is no repository')
    const image = makeImage([])
    await store(this.api.metadata, this.repository, image, { nowMs: this.api.time.nowMs })
    const tag = { repositoryId: this.repository.id, name: this.freshName(), digest: image.digest }
    await this.api.metadata.transaction((tx) =>
      pointTag(tx, { ...tag, nowMs: this.api.time.nowMs, expiresAtMs: undefined }),
    )
    return { tag: tag.name, digest: image.digest }
  }

  async ask(method: string, path: string, options: { headers?: Record<string, string>; body?: string } = {}) {
    const { headers = {}, body } = options
    const response = await fetch(`${this.origin}${path}`, { method, headers, ...(body !== undefined && { body }) })
    return { status: response.status, text: await response.text(), headers: response.headers }
  }

  async #admit(organization: Organization, person: Person, account: Account): Promise<void> {
    if (person in TEAM_OF) await this.#join(organization, TEAM_OF[person as keyof typeof TEAM_OF], account)
  }

  async #join(organization: Organization, name: string, account: Account): Promise<void> {
    const team = await findTeam(this.api.metadata.db, organization.id, name)
    if (team !== undefined) await addTeamMember(this.api.metadata.db, team.id, account.id)
  }

  async #robotToken(robot: Account): Promise<string> {
    const token = randomBytes(32).toString('hex').toUpperCase()
    await setRobotToken(this.api.metadata.db, robot.id, {
      tokenSha256: createHash('sha256').update(token).digest('hex'),
      tokenEncrypted: this.api.secretBox.seal(token, `account:${robot.id}:token_encrypted`),
    })
    this.api.admin.epoch.advance()
    return token
  }
}

/** `people`: who is there; some need other settings than others. */
export async function startWorld(
  t: Parameters<typeof startApi>[0],
  people: readonly Person[],
  settings: Partial<AdminSettings> = {},
): Promise<World> {
  const api = await startApi(t, settings)
  const image = makeImage([])
  const origin = await listen(t, api)
  const world = new World(api, origin, people, image)
  const { db } = api.metadata
  const nowMs = api.time.nowMs
  await createAccount(db, { username: ROOT, passwordHash: undefined, isSuperuser: true, nowMs })
  await world.makeOrganization({ isProxy: true }, ORGANIZATION)
  const organization = await api.admin.organizations.find(ORGANIZATION)
  world.organization = organization
  const named = { organizationId: organization.id, generation: organization.generation, name: REPOSITORY, nowMs }
  const repository = await api.metadata.transaction((tx) => ensureRepository(tx, named))
  world.repository = repository
  await store(api.metadata, repository, image, { nowMs })
  for (const name of ['v1', 'pinned']) {
    const tag = { repositoryId: repository.id, name, digest: image.digest, nowMs, expiresAtMs: undefined }
    await api.metadata.transaction((tx) => pointTag(tx, tag))
  }
  for (const person of people) if (person !== 'anonymous') await world.enroll(person)
  return world
}

/** The API, the token service and `/v2` behind one socket; content is what tests of the protocol use. */
async function listen(t: Parameters<typeof startApi>[0], api: ApiUnderTest): Promise<string> {
  const { authenticator, permission, settings } = api.admin
  const content = new FakeContent()
  const find = async (name: string) =>
    name === ORGANIZATION ? { name, registry: content.registry(name), isProxy: true } : undefined
  const directory: RegistryDirectory = {
    recallManifest: () => undefined,
    find,
    findMirror: async () => undefined,
    isUpstreamOf: async () => false,
    listRepositories: async (maySee) => ({
      names: (await maySee(ORGANIZATION)) ? [`${ORGANIZATION}/${REPOSITORY}`] : [],
      isComplete: true,
    }),
  }
  const origin = makeClientOrigin([])
  const clock = () => api.time.nowMs
  const report = (_event: string, fields: Readonly<Record<string, unknown>>) => void api.internalErrors.push(fields)
  const observe = () => {}
  const { serverHostname } = settings
  const registryHandler = createRegistryHandler({
    ...{ directory, authenticator, permission, clock, origin, observe, report },
    settings: { serverHostname, preferredScheme: undefined, rootOrganization: undefined },
  })
  await api.fastify.ready()
  const server = await startServer({
    ...{ host: '127.0.0.1', port: 0, tls: undefined, registryHandler, origin, observe, report },
    apiHandler: api.fastify.routing,
  })
  t.after(() => server.close(0))
  return server.url
}

async function rootOf(api: ApiUnderTest): Promise<Account> {
  const root = await findAccount(api.metadata.db, ROOT)
  if (root === undefined) throw new Error('there is no root')
  return root
}

async function addUpstream(api: ApiUnderTest, organization: Organization): Promise<void> {
  await insertProxyCache(api.metadata.db, {
    organizationId: organization.id,
    upstreamRegistry: 'quay.io',
    usernameEncrypted: undefined,
    passwordEncrypted: undefined,
    expirationSeconds: 86_400,
    insecure: false,
    createdAtMs: api.time.nowMs,
  })
}
