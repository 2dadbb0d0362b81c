/** For each operation of the API a request that would succeed for whoever may. */
import { SCOPES } from '../../src/admin/scopes.ts'
import { createAccount } from '../../src/metadata/accounts.ts'
import { insertOAuthApplication } from '../../src/metadata/oauth-applications.ts'
import type { Asking, Example } from './example.ts'
import { PEOPLE_EXAMPLES } from './people-examples.ts'
import { ORGANIZATION, REPOSITORY, type World } from './world.ts'

const fresh =
  (options: Parameters<World['makeOrganization']>[0] = {}) =>
  ({ world }: Asking) =>
    world.makeOrganization(options)
const freshTag = ({ world }: Asking) => world.makeTag()
const withDigest = (_asking: Asking, made: Readonly<Record<string, string>>) => ({ manifest_digest: made['digest'] })
const proxied = fresh({ isProxy: true })
const limited = fresh({ limitBytes: 1e9 })
const quota: Readonly<Record<string, Example>> = quotaExamples()

/** What is not here needs nothing but a path. */
export const EXAMPLES: Readonly<Record<string, Example>> = {
  errorType: { params: { type: 'invalid_request' } },
  // There is a user already; whoever may ask is told so.
  initializeUser: { body: { username: 'first', password: 'correct horse battery' }, statuses: [400] },
  createNewUser: { body: { username: '!', password: 'correct horse battery' }, statuses: [400, 429] },
  changeUserDetails: { body: { email: 'new@example.com' } },
  // Wrong credentials are 403: that it was looked at, shows a body that is none.
  signinUser: { body: {}, statuses: [400] },
  verifyUser: { body: {}, statuses: [400] },
  // Whoever alone administers an organization stays.
  deleteCurrentUser: { statuses: [204, 409] },
  createAppToken: { body: { title: 'laptop' } },
  getAppToken: { make: appToken },
  revokeAppToken: { make: appToken },
  getUserQuota: { params: { quota: '1' }, statuses: [404] },
  listUserQuotaLimit: { params: { quota: '1' }, statuses: [404] },
  getUserQuotaLimit: { params: { quota: '1', limit: '1' }, statuses: [404] },

  createOrganization: { body: ({ world }) => ({ name: world.freshName() }) },
  changeOrganizationDetails: { body: { email: 'new@example.com' } },
  deleteAdminedOrganization: { make: fresh() },
  createProxyCacheConfig: { make: fresh(), body: { upstream_registry: 'quay.io' } },
  changeProxyCacheConfig: { body: { expiration_s: 3600 } },
  deleteProxyCacheConfig: { make: proxied },
  validateProxyCacheConfig: { body: {} },
  purge: { body: { dry_run: true } },
  getPurge: { statuses: [404] },
  previewEviction: { query: '?bytes=1000' },

  createOrganizationApplication: { body: { name: 'robot army' } },
  getOrganizationApplication: { make: application },
  updateOrganizationApplication: { make: application, body: { name: 'renamed' } },
  deleteOrganizationApplication: { make: application },
  resetOrganizationApplicationClientSecret: { make: application },
  listApplicationTokens: { make: application },
  // A token makes none that is wider than itself.
  createApplicationToken: { make: application, body: ({ scopes }) => ({ scope: scopes[0] ?? '' }) },
  revokeApplicationToken: { make: applicationToken },

  ...quota,
  ...PEOPLE_EXAMPLES,
  listUserQuotaSuperUser: { params: { user: 'root' } },
  // Users hold no storage.
  createUserQuotaSuperUser: { params: { user: 'root' }, statuses: [400] },
  changeUserQuotaSuperUser: { params: { user: 'root', quota: '1' }, statuses: [404] },
  deleteUserQuotaSuperUser: { params: { user: 'root', quota: '1' }, statuses: [404] },

  changeTag: { make: freshTag, body: ({ world }) => ({ expiration: Math.floor(world.api.time.nowMs / 1000) + 9000 }) },
  deleteFullTag: { make: freshTag },
  restoreTag: { make: freshTag, body: withDigest },
  removeTagFromTimemachine: {
    make: freshTag,
    body: (asking, made) => ({ ...withDigest(asking, made), is_alive: true }),
  },
  pinTag: { make: freshTag },
  unpinTag: { params: { tag: 'never' }, statuses: [404] },
  pinManifest: { make: async ({ world }) => ({ digest: world.image.digest }) },
  unpinManifest: { params: { digest: `sha256:${'0'.repeat(64)}` }, statuses: [404] },

  createInstallUser: { body: { username: '!' }, statuses: [400] },
  getInstallUser: { params: { username: 'root' } },
  changeInstallUser: { make: user, body: { email: 'new@example.com' } },
  deleteInstallUser: { make: user },
  takeOwnership: { make: async (asking) => ({ namespace: (await fresh()(asking)).organization }) },
  startVerification: { body: {}, statuses: [202, 409] },
}

/** Operations after which the one who asked is not there any more. */
export const ENDS_THE_CALLER: ReadonlySet<string> = new Set(['deleteCurrentUser'])

export const PARAMS: Readonly<Record<string, string>> = {
  organization: ORGANIZATION,
  repository: REPOSITORY,
  tag: 'v1',
  uuid: '00000000-0000-4000-8000-000000000000',
  client: 'NOBODY',
}

function quotaExamples(): Readonly<Record<string, Example>> {
  const limitBody = { type: 'Reject', threshold_percent: 90 }
  const examples: Record<string, Example> = {}
  for (const name of ['Organization', 'OrganizationSuperUser']) {
    examples[`create${name}Quota`] = { make: fresh(), body: { limit: '1 GiB' } }
    examples[`get${name}Quota`] = { make: limited }
    examples[`change${name}Quota`] = { make: limited, body: { limit: '2 GiB' } }
    examples[`delete${name}Quota`] = { make: limited }
    examples[`list${name}QuotaLimit`] = { make: limited }
    examples[`create${name}QuotaLimit`] = { make: limited, body: limitBody }
    examples[`get${name}QuotaLimit`] = { make: limited }
    examples[`change${name}QuotaLimit`] = { make: limited, body: limitBody }
    examples[`delete${name}QuotaLimit`] = { make: limited }
  }
  return examples
}

async function appToken({ world, person }: Asking) {
  if (person === 'anonymous') return PARAMS
  const caller = { kind: 'account', account: await world.enroll(person), scopes: undefined } as const
  return { uuid: (await world.api.admin.appTokens.create(caller, 'laptop', '127.0.0.1')).uuid }
}

async function application({ world }: Asking) {
  const { api, organization } = world
  const clientId = world.freshName().toUpperCase().padEnd(20, 'X')
  await insertOAuthApplication(api.metadata.db, {
    organizationId: organization?.id ?? 0,
    clientId,
    clientSecretEncrypted: api.secretBox.seal('secret', `oauth_application:${clientId}:client_secret_encrypted`),
    name: 'robot army',
    description: '',
    applicationUri: '',
    redirectUri: '',
    avatarEmail: undefined,
    createdAtMs: api.time.nowMs,
  })
  return { client: clientId }
}

async function applicationToken(asking: Asking) {
  const { admin } = asking.world.api
  const { client } = await application(asking)
  const caller = { kind: 'account', account: await asking.world.enroll('admin'), scopes: undefined } as const
  const call = { caller, organization: ORGANIZATION, address: '127.0.0.1' }
  const wanted = { scope: SCOPES[0], title: undefined, expiresAtSeconds: undefined }
  return { client, token: (await admin.oauthApplications.createToken(call, client, wanted)).uuid }
}

async function user({ world }: Asking) {
  const username = world.freshName()
  const nowMs = world.api.time.nowMs
  await createAccount(world.api.metadata.db, { username, passwordHash: undefined, isSuperuser: false, nowMs })
  return { username }
}
