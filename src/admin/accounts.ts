/** The first user, further users, and what a user is told of themselves. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  type Account,
  AlreadyInitializedError,
  countAccounts,
  createAccount,
  createFirstAccount,
} from '../metadata/accounts.ts'
import { NameTakenError } from '../metadata/names.ts'
import { listMemberships } from '../metadata/teams.ts'
import type { AccessTokens } from './access-tokens.ts'
import { AdminError, invalidRequest, unauthorized } from './admin-error.ts'
import { type Avatar, avatarOf } from './avatar.ts'
import { type Caller, requireAccount } from './caller.ts'
import { type Passwords, PasswordsBusyError, passwordProblem } from './passwords.ts'
import type { Rights } from './rights.ts'
import { SCOPES, scopesGive } from './scopes.ts'
import type { AdminContext } from './settings.ts'
import { networkOf } from './sign-in-limit.ts'
import { isEmail, isUsername, usernameCharactersMax, usernameCharactersMin } from './username.ts'

export type NewUser = { username: string; password: string; email: string | undefined }

/** How the request for the first user came. */
export type InitializeRequest = NewUser & {
  wantsAccessToken: boolean
  /** Peer and `Host` are loopback, and nothing forwarded the request. */
  isLocal: boolean
  setupToken: string | undefined
  address: string
}

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
    if (!(await this.isUninitialized())) throw alreadyInitialized()
    if (!this.#mayInitialize(request)) {
      throw new AdminError(
        'INSUFFICIENT_SCOPE',
        'the first user can be created from the machine itself (a loopback address, no proxy), with the set-up token ' +
          'that the server printed at its start (setup_token), or by anyone when FEATURE_USER_INITIALIZE is true',
      )
    }
    checkNewUser(request)
    const passwordHash = await this.#hash(request.password, request.address)
    const { metadata, clock } = this.#context
    try {
      const accessToken = await metadata.transaction(async (tx) => {
        const account = await createFirstAccount(tx, {
          username: request.username,
          email: request.email,
          passwordHash,
          isSuperuser: true,
          nowMs: clock(),
        })
        if (!request.wantsAccessToken) return undefined
        return this.#tokens.create(tx, { accountId: account.id, title: request.username, scopes: SCOPES })
      })
      this.#changed('user_initialized', request.username)
      const user = { username: request.username, email: request.email ?? '' }
      return accessToken === undefined ? user : { ...user, access_token: accessToken }
    } catch (error) {
      if (error instanceof AlreadyInitializedError) throw alreadyInitialized()
      throw translateTaken(error)
    }
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
    const account = requireAccount(caller)
    if (!this.#rights.actsAsSuperuser(caller)) throw unauthorized()
    this.#rights.refuseReader(account)
    const password = user.password ?? randomBytes(generatedPasswordBytes).toString('base64url')
    checkNewUser({ ...user, password })
    const passwordHash = await this.#hash(password, address)
    const { username, email } = user
    try {
      await this.#context.metadata.transaction((tx) =>
        createAccount(tx, { username, email, passwordHash, isSuperuser: false, nowMs: this.#context.clock() }),
      )
    } catch (error) {
      throw translateTaken(error)
    }
    this.#changed('user_created', username, account.account)
    const created = { username, email: email ?? '' }
    return user.password === undefined ? { ...created, password } : created
  }

  /** Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE. */
  async view(caller: Caller): Promise<UserView> {
    const { account, scopes } = requireAccount(caller)
    if (!scopesGive(scopes, 'readUser')) throw unauthorized()
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

  #mayInitialize(request: InitializeRequest): boolean {
    if (request.isLocal || this.#context.settings.hasUserInitialize) return true
    const { setupToken } = this.#context
    return setupToken !== undefined && request.setupToken !== undefined && isSame(setupToken, request.setupToken)
  }

  async #hash(password: string, address: string): Promise<string> {
    try {
      return await this.#passwords.hash(password, networkOf(address))
    } catch (error) {
      if (!(error instanceof PasswordsBusyError)) throw error
      throw new AdminError('TOO_MANY_REQUESTS', error.message, { cause: error, retryAfterSeconds: 1 })
    }
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
  const problem = passwordProblem(user.password)
  if (problem !== undefined) throw invalidRequest(`password: expected ${problem}`)
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
