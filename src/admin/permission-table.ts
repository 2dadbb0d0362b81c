/**
 * Every operation of `/api/v1` and `/v2`, and by which rule it is open to whom: the one permission table. The server
 * asks it before each handler, `docs/permissions.md` and `test/permissions` are made from it. A route of the API
 * without a row does not start, a request of `/v2` without one does not compile.
 */
import type { RegistryRequest } from '../oci/request.ts'
import { isForEverybody } from './permission-decision.ts'
import type { RuleName } from './permission-rules.ts'

export type ApiOperation = {
  door: '/api/v1'
  /** Quay's nickname, where it has the operation. */
  id: string
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** As the route has it, without a slash at its end. */
  path: string
  rule: RuleName
  /** own: it changes only what is the caller's own, so those who may only read may too. */
  effect: 'reads' | 'writes' | 'own'
  /** Whoever comes with a session must have given the password a short while ago. */
  freshLogin: boolean
}

type Row = [id: string, method: ApiOperation['method'], path: string, rule: RuleName, ...marks: ('own' | 'fresh')[]]

const O = '/organization/:organization'
const R = '/repository/*'
const S = '/superuser'

const USER_ROWS: readonly Row[] = [
  ['errorType', 'GET', '/error/:type', 'open'],
  ['initializeUser', 'POST', '/user/initialize', 'open', 'own'],
  ['createNewUser', 'POST', '/user', 'open', 'own'],
  ['getLoggedInUser', 'GET', '/user', 'user.read'],
  ['changeUserDetails', 'PUT', '/user', 'user.administer', 'own', 'fresh'],
  ['deleteCurrentUser', 'DELETE', '/user', 'user.administer', 'own', 'fresh'],
  ['signinUser', 'POST', '/signin', 'open', 'own'],
  ['verifyUser', 'POST', '/signin/verify', 'signedIn', 'own'],
  ['logout', 'POST', '/signout', 'anyone', 'own'],
  ['listAppTokens', 'GET', '/user/apptoken', 'user.appTokens', 'fresh'],
  ['createAppToken', 'POST', '/user/apptoken', 'user.appTokens', 'own', 'fresh'],
  ['getAppToken', 'GET', '/user/apptoken/:uuid', 'user.appTokens', 'fresh'],
  ['revokeAppToken', 'DELETE', '/user/apptoken/:uuid', 'user.appTokens', 'own', 'fresh'],
  ['listUserQuota', 'GET', '/user/quota', 'user.read'],
  ['getUserQuota', 'GET', '/user/quota/:quota', 'user.read'],
  ['listUserQuotaLimit', 'GET', '/user/quota/:quota/limit', 'user.read'],
  ['getUserQuotaLimit', 'GET', '/user/quota/:quota/limit/:limit', 'user.read'],
]

const ORGANIZATION_ROWS: readonly Row[] = [
  ['createOrganization', 'POST', '/organization', 'organization.create'],
  ['getOrganization', 'GET', O, 'anyone'],
  ['changeOrganizationDetails', 'PUT', O, 'organization.administer'],
  ['deleteAdminedOrganization', 'DELETE', O, 'organization.administer', 'fresh'],
  ['getProxyCacheConfig', 'GET', `${O}/proxycache`, 'namespace.member'],
  ['createProxyCacheConfig', 'POST', `${O}/proxycache`, 'organization.administer'],
  ['changeProxyCacheConfig', 'PUT', `${O}/proxycache`, 'organization.administer'],
  ['deleteProxyCacheConfig', 'DELETE', `${O}/proxycache`, 'organization.administer'],
  ['validateProxyCacheConfig', 'POST', `${O}/validateproxycache`, 'organization.administer'],
  ['purge', 'POST', `${O}/purge`, 'organization.administer'],
  ['getPurge', 'GET', `${O}/purge`, 'organization.audit'],
  ['previewEviction', 'GET', `${O}/quota/preview`, 'organization.member'],
  ...applicationRows(`${O}/applications`),
]

/** Their secrets are shown: not to those who may only read. */
function applicationRows(path: string): readonly Row[] {
  const rule = 'organization.administer'
  const one = `${path}/:client`
  return [
    ['getOrganizationApplications', 'GET', path, rule],
    ['createOrganizationApplication', 'POST', path, rule],
    ['getOrganizationApplication', 'GET', one, rule],
    ['updateOrganizationApplication', 'PUT', one, rule],
    ['deleteOrganizationApplication', 'DELETE', one, rule],
    ['resetOrganizationApplicationClientSecret', 'POST', `${one}/resetclientsecret`, rule],
    ['listApplicationTokens', 'GET', `${one}/tokens`, rule],
    ['createApplicationToken', 'POST', `${one}/tokens`, rule, 'fresh'],
    ['revokeApplicationToken', 'DELETE', `${one}/tokens/:token`, rule],
  ]
}

const QUOTA_ROWS: readonly Row[] = [
  ...quotaRows('Organization', `${O}/quota`, 'organization.member', 'organization.editQuota'),
  ...quotaRows('OrganizationSuperUser', `${S}${O}/quota`, 'superuser.read', 'superuser'),
  ['listUserQuotaSuperUser', 'GET', `${S}/users/:user/quota`, 'superuser.read'],
  ['createUserQuotaSuperUser', 'POST', `${S}/users/:user/quota`, 'superuser'],
  ['changeUserQuotaSuperUser', 'PUT', `${S}/users/:user/quota/:quota`, 'superuser'],
  ['deleteUserQuotaSuperUser', 'DELETE', `${S}/users/:user/quota/:quota`, 'superuser'],
]

function quotaRows(name: string, path: string, see: RuleName, edit: RuleName): readonly Row[] {
  const one = `${path}/:quota`
  return [
    [`list${name}Quota`, 'GET', path, see],
    [`create${name}Quota`, 'POST', path, edit],
    [`get${name}Quota`, 'GET', one, see],
    [`change${name}Quota`, 'PUT', one, edit],
    [`delete${name}Quota`, 'DELETE', one, edit],
    [`list${name}QuotaLimit`, 'GET', `${one}/limit`, see],
    [`create${name}QuotaLimit`, 'POST', `${one}/limit`, edit],
    [`get${name}QuotaLimit`, 'GET', `${one}/limit/:limit`, see],
    [`change${name}QuotaLimit`, 'PUT', `${one}/limit/:limit`, edit],
    [`delete${name}QuotaLimit`, 'DELETE', `${one}/limit/:limit`, edit],
  ]
}

/** Who belongs to an organization, and what they may do in it. */
const PEOPLE_ROWS: readonly Row[] = [
  ['updateOrganizationTeam', 'PUT', `${O}/team/:team`, 'organization.administer'],
  ['deleteOrganizationTeam', 'DELETE', `${O}/team/:team`, 'organization.administer'],
  ['getOrganizationTeamMembers', 'GET', `${O}/team/:team/members`, 'team.see'],
  ['updateOrganizationTeamMember', 'PUT', `${O}/team/:team/members/:member`, 'organization.administer'],
  ['deleteOrganizationTeamMember', 'DELETE', `${O}/team/:team/members/:member`, 'organization.administer'],
  ['getOrganizationTeamPermissions', 'GET', `${O}/team/:team/permissions`, 'organization.audit'],
  ['getOrganizationMembers', 'GET', `${O}/members`, 'organization.audit'],
  ['getOrganizationMember', 'GET', `${O}/members/:member`, 'organization.audit'],
  ['removeOrganizationMember', 'DELETE', `${O}/members/:member`, 'organization.administer'],
  ['getOrganizationCollaborators', 'GET', `${O}/collaborators`, 'organization.audit'],
  ['getOrganizationPrototypePermissions', 'GET', `${O}/prototypes`, 'organization.audit'],
  ['createOrganizationPrototypePermission', 'POST', `${O}/prototypes`, 'organization.administer'],
  ['updateOrganizationPrototypePermission', 'PUT', `${O}/prototypes/:prototype`, 'organization.administer'],
  ['deleteOrganizationPrototypePermission', 'DELETE', `${O}/prototypes/:prototype`, 'organization.administer'],
  ['getOrgRobots', 'GET', `${O}/robots`, 'organization.member'],
  ['getOrgRobot', 'GET', `${O}/robots/:robot`, 'organization.audit'],
  ['createOrgRobot', 'PUT', `${O}/robots/:robot`, 'organization.administer'],
  ['deleteOrgRobot', 'DELETE', `${O}/robots/:robot`, 'organization.administer'],
  ['regenerateOrgRobotToken', 'POST', `${O}/robots/:robot/regenerate`, 'organization.administer'],
  ['getOrgRobotPermissions', 'GET', `${O}/robots/:robot/permissions`, 'organization.audit'],
  ['getOrgRobotCredentials', 'GET', `${O}/robots/:robot/credentials`, 'organization.administer'],
  ['getUserRobots', 'GET', '/user/robots', 'user.administer'],
  ['getUserRobot', 'GET', '/user/robots/:robot', 'user.administer'],
  ['createUserRobot', 'PUT', '/user/robots/:robot', 'user.administer', 'own'],
  ['deleteUserRobot', 'DELETE', '/user/robots/:robot', 'user.administer', 'own'],
  ['regenerateUserRobotToken', 'POST', '/user/robots/:robot/regenerate', 'user.administer', 'own'],
  ['getUserRobotPermissions', 'GET', '/user/robots/:robot/permissions', 'user.administer'],
  ['getUserRobotCredentials', 'GET', '/user/robots/:robot/credentials', 'user.administer'],
]

const REPOSITORY_ROWS: readonly Row[] = [
  ['listRepoTags', 'GET', `${R}/tag`, 'repository.see'],
  ['listUntaggedImages', 'GET', `${R}/image`, 'repository.see'],
  ['changeTag', 'PUT', `${R}/tag/:tag`, 'repository.write'],
  ['deleteFullTag', 'DELETE', `${R}/tag/:tag`, 'repository.write'],
  ['restoreTag', 'POST', `${R}/tag/:tag/restore`, 'repository.write'],
  ['removeTagFromTimemachine', 'POST', `${R}/tag/:tag/expire`, 'repository.write'],
  ['pinTag', 'PUT', `${R}/tag/:tag/pin`, 'repository.administer'],
  ['unpinTag', 'DELETE', `${R}/tag/:tag/pin`, 'repository.administer'],
  ['pinManifest', 'PUT', `${R}/manifest/:digest/pin`, 'repository.administer'],
  ['unpinManifest', 'DELETE', `${R}/manifest/:digest/pin`, 'repository.administer'],
  ['listRepoUserPermissions', 'GET', `${R}/permissions/user`, 'repository.audit'],
  ['listRepoTeamPermissions', 'GET', `${R}/permissions/team`, 'repository.audit'],
  ['getUserTransitivePermission', 'GET', `${R}/permissions/user/:grantee/transitive`, 'repository.audit'],
  ['getUserPermissions', 'GET', `${R}/permissions/user/:grantee`, 'repository.audit'],
  ['changeUserPermissions', 'PUT', `${R}/permissions/user/:grantee`, 'repository.administer'],
  ['deleteUserPermissions', 'DELETE', `${R}/permissions/user/:grantee`, 'repository.administer'],
  ['getTeamPermissions', 'GET', `${R}/permissions/team/:grantee`, 'repository.audit'],
  ['changeTeamPermissions', 'PUT', `${R}/permissions/team/:grantee`, 'repository.administer'],
  ['deleteTeamPermissions', 'DELETE', `${R}/permissions/team/:grantee`, 'repository.administer'],
  ['changeRepoVisibility', 'POST', `${R}/changevisibility`, 'repository.administer'],
]

const SUPERUSER_ROWS: readonly Row[] = [
  ['listAllOrganizations', 'GET', `${S}/organizations`, 'superuser.read', 'fresh'],
  ['changeOrganization', 'PUT', `${S}/organizations/:name`, 'superuser', 'fresh'],
  ['deleteOrganization', 'DELETE', `${S}/organizations/:name`, 'superuser', 'fresh'],
  ['listAllUsers', 'GET', `${S}/users`, 'superuser.read'],
  ['createInstallUser', 'POST', `${S}/users`, 'superuser', 'fresh'],
  ['getInstallUser', 'GET', `${S}/users/:username`, 'superuser.read'],
  ['changeInstallUser', 'PUT', `${S}/users/:username`, 'superuser', 'fresh'],
  ['deleteInstallUser', 'DELETE', `${S}/users/:username`, 'superuser', 'fresh'],
  ['takeOwnership', 'POST', `${S}/takeownership/:namespace`, 'superuser', 'fresh'],
  ['getRegistrySize', 'GET', `${S}/registrysize`, 'superuser.read'],
  ['queueRegistrySizeCalculation', 'POST', `${S}/registrysize`, 'superuser'],
  ['startVerification', 'POST', `${S}/verification`, 'superuser'],
  ['getVerification', 'GET', `${S}/verification`, 'superuser'],
  ['cancelVerification', 'DELETE', `${S}/verification`, 'superuser'],
]

export const API_OPERATIONS: readonly ApiOperation[] = [
  ...[...USER_ROWS, ...ORGANIZATION_ROWS, ...PEOPLE_ROWS, ...QUOTA_ROWS, ...REPOSITORY_ROWS, ...SUPERUSER_ROWS],
].map(([id, method, path, rule, ...marks]) => ({
  ...{ door: '/api/v1', id, method, path, rule, freshLogin: marks.includes('fresh') },
  effect: marks.includes('own') ? 'own' : method === 'GET' ? 'reads' : 'writes',
}))

const byRoute = new Map(API_OPERATIONS.map((operation) => [`${operation.method} ${operation.path}`, operation]))

/**
 * The row of a route, so at the start. Errors: a route without a row, or that says something else than its row does.
 */
export function operationOf(route: {
  method: ApiOperation['method']
  path: string
  access: 'open' | 'optional' | 'required'
  freshLogin?: true
}): ApiOperation {
  const name = `${route.method} ${route.path.replace(/\/$/, '')}`
  const operation = byRoute.get(name)
  if (operation === undefined) throw new Error(`${name}: has no row in src/admin/permission-table.ts`)
  const access = operation.rule === 'open' ? 'open' : isForEverybody(operation.rule) ? 'optional' : 'required'
  if (access !== route.access || (route.freshLogin === true && !operation.freshLogin)) {
    throw new Error(`${name}: the permission table has access ${access}, fresh login ${operation.freshLogin}`)
  }
  return operation
}

export type RegistryOperation = { door: '/v2'; id: string; method: string; path: string; rule: RuleName }

/** By kind of request, and the token service, which is a kind of its own. */
export const REGISTRY_OPERATIONS: Readonly<
  Record<RegistryRequest['kind'] | 'token', readonly Omit<RegistryOperation, 'door' | 'id'>[]>
> = {
  token: [
    { method: 'GET', path: '/v2/auth', rule: 'registry.anyone' },
    { method: 'POST', path: '/v2/auth', rule: 'registry.signedIn' },
  ],
  ping: [{ method: 'GET', path: '/v2/', rule: 'registry.signedIn' }],
  catalog: [{ method: 'GET', path: '/v2/_catalog', rule: 'registry.list' }],
  headManifest: [{ method: 'HEAD', path: '/v2/<name>/manifests/<reference>', rule: 'repository.pull' }],
  getManifest: [{ method: 'GET', path: '/v2/<name>/manifests/<reference>', rule: 'repository.pull' }],
  headBlob: [{ method: 'HEAD', path: '/v2/<name>/blobs/<digest>', rule: 'repository.pull' }],
  getBlob: [{ method: 'GET', path: '/v2/<name>/blobs/<digest>', rule: 'repository.pull' }],
  listTags: [{ method: 'GET', path: '/v2/<name>/tags/list', rule: 'repository.pull' }],
  listReferrers: [{ method: 'GET', path: '/v2/<name>/referrers/<digest>', rule: 'repository.pull' }],
  push: [
    { method: 'POST', path: '/v2/<name>/blobs/uploads/', rule: 'nobody' },
    { method: 'PATCH', path: '/v2/<name>/blobs/uploads/<upload>', rule: 'nobody' },
    { method: 'PUT', path: '/v2/<name>/blobs/uploads/<upload>', rule: 'nobody' },
    { method: 'PUT', path: '/v2/<name>/manifests/<reference>', rule: 'nobody' },
    { method: 'DELETE', path: '/v2/<name>/manifests/<reference>', rule: 'nobody' },
    { method: 'DELETE', path: '/v2/<name>/blobs/<digest>', rule: 'nobody' },
  ],
}
