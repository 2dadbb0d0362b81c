/** Tokens of robots: registry passwords of 256 random bits, found by their SHA-256, stored sealed, told to admins. */
import { createHash, randomBytes } from 'node:crypto'
import { SECOND_MS } from '../base/units.ts'
import type { Account } from '../metadata/accounts.ts'
import type { Db } from '../metadata/open.ts'
import { findRobotIdByToken, type Robot, setRobotToken, touchRobots } from '../metadata/robots.ts'
import type { AccountDirectory } from './account-directory.ts'
import { EpochMemory } from './rights-epoch.ts'
import { isRobotName } from './robot-name.ts'
import type { AdminContext } from './settings.ts'

export const ROBOT_TOKEN_LIMITS = {
  rememberedMax: 10_000,
  /** How often last uses are written. */
  flushMs: 10 * SECOND_MS,
  /** Rows of one transaction. */
  rowsMax: 100,
  /** While the database cannot be written, uses beyond this are dropped: the next one tells the same. */
  pendingMax: 100_000,
} as const

const tokenBytes = 32
const TOKEN = /^[0-9A-F]{64}$/
/** Of the token's digest, in the key of a credential: enough to tell tokens apart. */
const fingerprintCharacters = 32

export class RobotTokens {
  readonly #context: AdminContext
  readonly #accounts: AccountDirectory
  /** Account ids by the digest of the token. */
  readonly #known: EpochMemory<number>
  readonly #uses = new Map<number, number>()
  #flushing: Promise<void> | undefined

  constructor(context: AdminContext, accounts: AccountDirectory) {
    this.#context = context
    this.#accounts = accounts
    this.#known = new EpochMemory(context.epoch, ROBOT_TOKEN_LIMITS.rememberedMax)
  }

  /** Give a robot a new token; its former one is no good once the transaction is committed and the epoch moved on. */
  async renew(tx: Db, robotId: number): Promise<string> {
    // Quay's tokens are 64 capital letters and digits.
    const token = randomBytes(tokenBytes).toString('hex').toUpperCase()
    const tokenEncrypted = this.#context.secretBox.seal(token, contextOf(robotId))
    await setRobotToken(tx, robotId, { tokenSha256: sha256(token), tokenEncrypted })
    return token
  }

  /** A robot's token in clear. */
  reveal(robot: Robot): string {
    return robot.tokenEncrypted === undefined
      ? ''
      : this.#context.secretBox.open(robot.tokenEncrypted, contextOf(robot.id))
  }

  /** Without waiting; undefined also when it is not known yet. */
  recall(username: string, secret: string): Account | undefined {
    if (!TOKEN.test(secret)) return undefined
    const id = this.#known.find(sha256(secret))
    const account = id === undefined ? undefined : this.#accounts.recallById(id)
    if (account === undefined || account.username !== username) return undefined
    this.#touch(account.id)
    return account
  }

  /** Undefined unless the secret is the token of the robot of that name, which may be used. */
  async find(username: string, secret: string): Promise<Account | undefined> {
    const recalled = this.recall(username, secret)
    if (recalled !== undefined) return recalled
    if (!TOKEN.test(secret) || !isRobotName(username)) return undefined
    const digest = sha256(secret)
    const epoch = this.#context.epoch.current
    const id = await findRobotIdByToken(this.#context.metadata.db, digest)
    const account = id === undefined ? undefined : await this.#accounts.findById(id)
    if (account === undefined || account.username !== username) return undefined
    // Else the token was renewed between the two questions.
    if (account.tokenSha256 !== digest) return undefined
    this.#known.set(digest, account.id, epoch)
    this.#touch(account.id)
    return account
  }

  /** The later of what is written and what waits to be. */
  lastUsedAtMs(robot: Robot): number | undefined {
    const waiting = this.#uses.get(robot.id)
    if (waiting === undefined) return robot.lastUsedAtMs
    return Math.max(waiting, robot.lastUsedAtMs ?? waiting)
  }

  /** Write the last uses that have gathered. Never rejects; what cannot be written is kept for the next time. */
  flush(): Promise<void> {
    this.#flushing ??= this.#write().finally(() => {
      this.#flushing = undefined
    })
    return this.#flushing
  }

  #touch(id: number): void {
    if (this.#uses.size < ROBOT_TOKEN_LIMITS.pendingMax || this.#uses.has(id)) this.#uses.set(id, this.#context.clock())
  }

  async #write(): Promise<void> {
    const uses = [...this.#uses]
    try {
      for (let start = 0; start < uses.length; start += ROBOT_TOKEN_LIMITS.rowsMax) {
        const batch = uses.slice(start, start + ROBOT_TOKEN_LIMITS.rowsMax)
        await this.#context.metadata.transaction((tx) => touchRobots(tx, batch))
        for (const [id, atMs] of batch) if (this.#uses.get(id) === atMs) this.#uses.delete(id)
      }
    } catch (error) {
      this.#context.report('robot_uses_not_written', { error, pending: this.#uses.size })
    }
  }
}

/**
 * What a registry token says about the robot token that it was given for: another one when the robot's is renewed.
 */
export function credentialOfRobot(account: Account): string {
  return `robot:${account.tokenSha256?.slice(0, fingerprintCharacters) ?? ''}`
}

function contextOf(robotId: number): string {
  return `account:${robotId}:token_encrypted`
}

function sha256(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
