/** The first user, further users, and what a user is told of themselves. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { PassingMap } from '../base/bounded-map.ts'
import { HOUR_MS } from '../base/units.ts'
import {
  type Account,
  AlreadyInitializedError,
  countAccounts,
  createAccount,
  createFirstAccount,
  findAccountById,
} from '../metadata/accounts.ts'
import { addLogEntry } from '../metadata/log-entries.ts'
import { NameTakenError } from '../metadata/names.ts'
import type { Db } from '../metadata/open.ts'
import { listMemberships } from '../metadata/teams.ts'
import type { AccessTokens } from './access-tokens.ts'
import { AdminError, invalidRequest, notFound, unauthorized } from './admin-error.ts'
import { type Avatar, avatarOf } from './avatar.ts'
import { type Caller, requireAccount } from './caller.ts'
import { checkPassword, hashNewPassword } from './password-hashing.ts'
import type { Passwords } from './passwords.ts'
import type { Rights } from './rights.ts'
import { SCOPES, scopesGive } from './scopes.ts'
import type { AdminContext } from './settings.ts'
import { networkOf } from './sign-in-limit.ts'
import { isEmail, isUsername, usernameCharactersMax, usernameCharactersMin } from './username.ts'

export type NewUser = { username: string; password: string; email: string | undefined }

export const SIGN_UP_LIMITS = {
  /** Accounts that one network may make in an hour by itself (FEATURE_USER_CREATION). */
  perNetworkMax: 20,
  windowMs: HOUR_MS,
  networksMax: 10_000,
} as const

/** How a request without credentials for a new user came. */
export type SignUpRequest = NewUser & {
  /** Peer and `Host` are loopback, and nothing forwarded the request. */
  isLocal: boolean
  setupToken: string | undefined
  address: string
}
export type InitializeRequest = SignUpRequest & { wantsAccessToken: boolean }

export type InitializedUser = { username: string; email: string; access_token?: string }
/** `password` only when the server made it. */
export type CreatedUser = { username: string; email: string; password?: string }

export type UserView = {
  anonymous: false
  username: string
  avatar: Avatar
  email: string | null
  verified: true
  is_me: true
  can_create_repo: true
  super_user: boolean
  global_readonly_super_user: boolean
  organizations: {
    name: string
    avatar: Avatar
    can_create_repo: boolean
    is_org_admin: boolean
    public: false
  }[]
}

/** 120 bits, in letters that can be typed. */
const generatedPasswordBytes = 15

export class Accounts {
  readonly #context: AdminContext
  readonly #passwords: Passwords
  readonly #tokens: AccessTokens
  readonly #rights: Rights
  readonly #signUps = new PassingMap<{ count: number }>(SIGN_UP_LIMITS.networksMax)

  constructor(context: AdminContext, passwords: Passwords, tokens: AccessTokens, rights: Rights) {
    this.#context = context
    this.#passwords = passwords
    this.#tokens = tokens
    this.#rights = rights
  }

  /** Whether there is no user yet, so that the first may be created. */
  async isUninitialized(): Promise<boolean> {
    return (await countAccounts(this.#context.metadata.db)) === 0
  }

  /**
   * Create the first user, a superuser, with an access token of every scope when wanted.
   * Who may: DESIGN part 6. Two at once: one wins.
   * Errors: AdminError INVALID_REQUEST (Quay's message) when there is a user, or for a bad name, email or password;
   * INSUFFICIENT_SCOPE when the request came neither locally nor with the set-up token.
   */
  async initialize(request: InitializeRequest): Promise<InitializedUser> {
    const { account, accessToken } = await this.#createFirst(request)
    const user = { username: account.username, email: account.email ?? '' }
    return accessToken === undefined ? user : { ...user, access_token: accessToken }
  }

  /**
   * Somebody makes an account of their own: the first user by the rules of `initialize`, later ones when
   * FEATURE_USER_CREATION lets them. Errors: as `initialize`; NOT_FOUND when it does not (Quay: the call is not there);
   * TOO_MANY_REQUESTS.
   */
  async signUp(request: SignUpRequest): Promise<Account> {
    if (await this.isUninitialized()) return (await this.#createFirst({ ...request, wantsAccessToken: false })).account
    const { superUsers, globalReadonlySuperUsers, hasUserCreation } = this.#context.settings
    if (!hasUserCreation) throw notFound('creation of users (FEATURE_USER_CREATION)')
    checkNewUser(request)
    // Else whoever comes first to a name of the configuration would be a superuser.
    if (superUsers.includes(request.username) || globalReadonlySuperUsers.includes(request.username)) {
      throw invalidRequest('username: is reserved by the configuration; a superuser can create it')
    }
    this.#countSignUp(request.address)
    return this.#insert(request, undefined, request.address)
  }

  /**
   * Create a user as a superuser; without a password one is made, and told once (Quay always makes one).
   * Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, INVALID_REQUEST.
   */
  async create(
    caller: Caller,
    user: { username: string; email: string | undefined; password: string | undefined },
    address: string,
  ): Promise<CreatedUser> {
    const { account } = requireAccount(caller)
    if (!this.#rights.actsAsSuperuser(caller)) throw unauthorized()
    this.#rights.refuseReader(requireAccount(caller))
    const password = user.password ?? randomBytes(generatedPasswordBytes).toString('base64url')
    checkNewUser({ ...user, password })
    const { username, email } = await this.#insert({ ...user, password }, account, address)
    const created = { username, email: email ?? '' }
    return user.password === undefined ? { ...created, password } : created
  }

  /** Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE. */
  async view(caller: Caller): Promise<UserView> {
    const { account, scopes } = requireAccount(caller)
    if (!scopesGive(scopes, 'readUser')) throw unauthorized()
    return this.#view(account)
  }

  /** As `view`, after a change: as it is now. */
  async viewOwn(caller: Caller): Promise<UserView> {
    const { account } = requireAccount(caller)
    return this.#view((await findAccountById(this.#context.metadata.db, account.id)) ?? account)
  }

  async #view(account: Account): Promise<UserView> {
    const memberships = await listMemberships(this.#context.metadata.db, account.id)
    const names = [...new Set(memberships.map(({ organizationName }) => organizationName))].sort()
    return {
      anonymous: false,
      username: account.username,
      avatar: avatarOf(account.username, 'user'),
      email: account.email ?? null,
      verified: true,
      is_me: true,
      can_create_repo: true,
      super_user: this.#rights.isSuperuser(account),
      global_readonly_super_user: this.#rights.isReader(account),
      organizations: names.map((name) => {
        const roles = memberships.filter(({ organizationName }) => organizationName === name).map(({ role }) => role)
        return {
          name,
          avatar: avatarOf(name, 'org'),
          can_create_repo: roles.some((role) => role !== 'member'),
          is_org_admin: roles.includes('admin'),
          public: false,
        }
      }),
    }
  }

  async #createFirst(request: InitializeRequest): Promise<{ account: Account; accessToken: string | undefined }> {
    if (!(await this.isUninitialized())) throw alreadyInitialized()
    if (!this.#mayInitialize(request)) {
      throw new AdminError(
        'INSUFFICIENT_SCOPE',
        'the first user can be created from the machine itself (a loopback address, no proxy), with the set-up token ' +
          'that the server printed at its start (setup_token), or by anyone when FEATURE_USER_INITIALIZE is true',
      )
    }
    checkNewUser(request)
    const passwordHash = await hashNewPassword(this.#passwords, request.password, request.address)
    const { metadata, clock } = this.#context
    const { username, email } = request
    try {
      const created = await metadata.transaction(async (tx) => {
        const account = await createFirstAccount(tx, {
          ...{ username, email, passwordHash },
          isSuperuser: true,
          nowMs: clock(),
        })
        await this.#log(tx, account, account, request.address)
        if (!request.wantsAccessToken) return { account, accessToken: undefined }
        const options = { accountId: account.id, title: username, scopes: SCOPES }
        return { account, accessToken: await this.#tokens.create(tx, options) }
      })
      this.#changed('user_initialized', username)
      return created
    } catch (error) {
      if (error instanceof AlreadyInitializedError) throw alreadyInitialized()
      throw translateTaken(error)
    }
  }

  async #insert(user: NewUser, by: Account | undefined, address: string): Promise<Account> {
    const { username, email } = user
    const passwordHash = await hashNewPassword(this.#passwords, user.password, address)
    try {
      const nowMs = this.#context.clock()
      const account = await this.#context.metadata.transaction(async (tx) => {
        const created = await createAccount(tx, { username, email, passwordHash, isSuperuser: false, nowMs })
        await this.#log(tx, created, by ?? created, address)
        return created
      })
      this.#changed('user_created', username, by)
      return account
    } catch (error) {
      throw translateTaken(error)
    }
  }

  #mayInitialize(request: SignUpRequest): boolean {
    if (request.isLocal || this.#context.settings.hasUserInitialize) return true
    const { setupToken } = this.#context
    return setupToken !== undefined && request.setupToken !== undefined && isSame(setupToken, request.setupToken)
  }

  /** Errors: AdminError TOO_MANY_REQUESTS. */
  #countSignUp(address: string): void {
    const [network, nowMs] = [networkOf(address), this.#context.clock()]
    const known = this.#signUps.find(network, nowMs)
    if (known === undefined) this.#signUps.set(network, { count: 1 }, nowMs + SIGN_UP_LIMITS.windowMs)
    else if (known.count < SIGN_UP_LIMITS.perNetworkMax) known.count += 1
    else {
      const retryAfterSeconds = Math.ceil(SIGN_UP_LIMITS.windowMs / 1000)
      throw new AdminError('TOO_MANY_REQUESTS', 'too many new accounts from this address', { retryAfterSeconds })
    }
  }

  #log(tx: Db, created: Account, by: Account, address: string): Promise<void> {
    const metadata = { username: created.username, email: created.email, superuser: by.username }
    const entry = { organizationId: undefined, kind: 'user_create', nowMs: this.#context.clock() } as const
    return addLogEntry(tx, { ...entry, accountId: by.id, address, metadata })
  }

  #changed(event: string, username: string, by?: Account): void {
    this.#context.epoch.advance()
    this.#context.report(event, { username, by: by?.username })
  }
}

function checkNewUser(user: NewUser): void {
  if (!isUsername(user.username)) {
    throw invalidRequest(
      `username: expected ${usernameCharactersMin} to ${usernameCharactersMax} lower-case letters and digits, ` +
        'with single . _ or - between them',
    )
  }
  if (user.email !== undefined && !isEmail(user.email)) throw invalidRequest('email: not an email address')
  checkPassword(user.password)
}

/** Quay's message. */
function alreadyInitialized(): AdminError {
  return invalidRequest('Cannot initialize user in a non-empty database')
}

/** Quay's message for organizations, which share the names. */
export function translateTaken(error: unknown): unknown {
  return error instanceof NameTakenError
    ? invalidRequest('A user or organization with this name already exists')
    : error
}

/** In the same time wherever they differ. */
function isSame(expected: string, given: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(expected), digest(given))
}
