/** Administration put together: who asks, what they may, and the use cases behind the API. */
import type { Clock } from '../base/clock.ts'
import { AccessTokens } from './access-tokens.ts'
import { AccountDirectory } from './account-directory.ts'
import { Accounts } from './accounts.ts'
import { AppTokens } from './app-tokens.ts'
import { RegistryAuthenticator } from './authenticator.ts'
import { Callers } from './callers.ts'
import { Credentials } from './credentials.ts'
import type { PullPermission } from './identity.ts'
import { Members } from './members.ts'
import { OAuthApplications } from './oauth-applications.ts'
import { Organizations } from './organizations.ts'
import { OwnAccount } from './own-account.ts'
import { Passwords } from './passwords.ts'
import { PermissionGate } from './permission-gate.ts'
import { OrganizationPullPermission } from './permissions.ts'
import { Pins } from './pins.ts'
import { Prototypes } from './prototypes.ts'
import { ProxyCaches } from './proxy-caches.ts'
import { Purges } from './purges.ts'
import { Quotas } from './quotas.ts'
import { RegistrySize } from './registry-size.ts'
import { type JwtRegistryTokens, openRegistryTokens } from './registry-tokens.ts'
import { RepositoryPermissions } from './repository-permissions.ts'
import { Rights } from './rights.ts'
import { RightsEpoch } from './rights-epoch.ts'
import { RobotTokens } from './robot-tokens.ts'
import { Robots } from './robots.ts'
import { Sessions } from './sessions.ts'
import type { AdminContext, AdminDependencies, AdminSettings } from './settings.ts'
import { SignInFailures } from './sign-in-failures.ts'
import { SuperuserOrganizations } from './superuser-organizations.ts'
import { Tags } from './tags.ts'
import { Teams } from './teams.ts'
import { UserQuotas } from './user-quotas.ts'
import { Users } from './users.ts'
import { Verifications } from './verification.ts'

export type Admin = {
  settings: AdminSettings
  /** Moves on with every change of a right; whatever else remembers rights may compare it. */
  epoch: RightsEpoch
  authenticator: RegistryAuthenticator
  permission: PullPermission
  /** Asked by every route of the API, before its handler. */
  gate: PermissionGate
  registryTokens: JwtRegistryTokens
  callers: Callers
  accessTokens: AccessTokens
  accounts: Accounts
  ownAccount: OwnAccount
  users: Users
  sessions: Sessions
  appTokens: AppTokens
  oauthApplications: OAuthApplications
  organizations: Organizations
  proxyCaches: ProxyCaches
  quotas: Quotas
  userQuotas: UserQuotas
  registrySize: RegistrySize
  teams: Teams
  robots: Robots
  repositoryPermissions: RepositoryPermissions
  prototypes: Prototypes
  members: Members
  superuserOrganizations: SuperuserOrganizations
  tags: Tags
  pins: Pins
  verifications: Verifications
  purges: Purges
  clock: Clock
  /** Write what gathers in memory: last uses of tokens, failed sign-ins. Never rejects. */
  flush(): Promise<void>
}

/** Reads, or makes, the key of registry tokens. */
export async function createAdmin(dependencies: AdminDependencies): Promise<Admin> {
  const epoch = new RightsEpoch()
  const context: AdminContext = { ...dependencies, epoch }
  const directory = new AccountDirectory(context)
  const accessTokens = new AccessTokens(context, directory)
  const passwords = new Passwords(context.clock)
  const robotTokens = new RobotTokens(context, directory)
  const appTokens = new AppTokens(context, directory)
  const failures = new SignInFailures(context)
  const parts = { tokens: accessTokens, passwords, robots: robotTokens, appTokens, failures }
  const credentials = new Credentials(context, directory, parts)
  const sessions = new Sessions(context, directory, credentials)
  const rights = new Rights(context)
  const registryTokens = await openRegistryTokens(context)
  const organizations = new Organizations(context, rights)
  return {
    settings: context.settings,
    epoch,
    authenticator: new RegistryAuthenticator(context, directory, credentials, registryTokens),
    permission: new OrganizationPullPermission(context, directory, rights),
    gate: new PermissionGate(context, rights),
    registryTokens,
    callers: new Callers(credentials, sessions),
    accessTokens,
    accounts: new Accounts(context, passwords, accessTokens, rights),
    ownAccount: new OwnAccount(context, passwords, rights, sessions),
    users: new Users(context, passwords, rights),
    sessions,
    appTokens,
    oauthApplications: new OAuthApplications(context, organizations, accessTokens),
    organizations,
    proxyCaches: new ProxyCaches(context, organizations),
    quotas: new Quotas(context, organizations),
    userQuotas: new UserQuotas(context),
    registrySize: new RegistrySize(context),
    teams: new Teams(context, organizations, rights),
    robots: new Robots(context, organizations, rights, robotTokens),
    repositoryPermissions: new RepositoryPermissions(context, organizations),
    prototypes: new Prototypes(context, organizations, rights),
    members: new Members(context, organizations, rights),
    superuserOrganizations: new SuperuserOrganizations(context, organizations, rights),
    tags: new Tags(context, organizations),
    pins: new Pins(context, organizations),
    verifications: new Verifications(context),
    purges: new Purges(context, organizations),
    clock: context.clock,
    flush: async () => {
      for (const part of [accessTokens, appTokens, robotTokens, failures]) await part.flush()
    },
  }
}
