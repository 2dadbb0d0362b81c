/**
 * Passwords: argon2id in PHC form, `$argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<tag>` (base64 without padding).
 * Source: RFC 9106; the PHC string format.
 */
import { argon2, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { PassingMap } from '../base/bounded-map.ts'
import type { Clock } from '../base/clock.ts'
import { MINUTE_MS } from '../base/units.ts'

export const PASSWORD_LIMITS = {
  /** Quay's rule. */
  charactersMin: 8,
  /** More is not a password, and hashing starts with reading it. */
  bytesMax: 1024,
  /** DESIGN part 6: a hash takes a whole core and 19 MiB. */
  hashesAtOnceMax: 2,
  /** Waiting beyond this many is refused: a flood of sign-ins must not hold memory or the next honest one for long. */
  hashesWaitingMax: 64,
  /** Of one client address, waiting or running, so that one cannot take every place. */
  hashesPerAddressMax: 8,
  /** DESIGN part 6. */
  rememberedMs: 5 * MINUTE_MS,
  rememberedMax: 10_000,
} as const

/** OWASP's second choice of parameters (19 MiB, 2 passes, 1 lane): about 30 ms. */
const COST = { memory: 19_456, passes: 2, parallelism: 1 } as const
/** Bounds on what a stored hash may ask for. */
const COST_MAX = { memory: 1_048_576, passes: 16, parallelism: 16 } as const
const saltBytes = 16
const tagBytes = 32

/** Too many hashes are waiting; try again later. */
export class PasswordsBusyError extends Error {
  override readonly name = 'PasswordsBusyError'
}

export class Passwords {
  readonly #clock: Clock
  /** Keys what is remembered; it dies with the process. */
  readonly #memoryKey = randomBytes(32)
  readonly #remembered = new PassingMap<true>(PASSWORD_LIMITS.rememberedMax)
  readonly #addresses = new Map<string, number>()
  readonly #waiting: (() => void)[] = []
  #running = 0
  /** Compared with when there is no account, so that the answer takes as long. */
  readonly #decoy = formatPhc(COST, randomBytes(saltBytes), randomBytes(tagBytes))

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Errors: PasswordsBusyError. */
  async hash(password: string, address: string): Promise<string> {
    const salt = randomBytes(saltBytes)
    return formatPhc(COST, salt, await this.#derive(password, salt, COST, tagBytes, address))
  }

  /**
   * Whether `password` belongs to the stored hash; without one, false after as long a time.
   * Errors: PasswordsBusyError.
   */
  async verify(stored: string | undefined, password: string, address: string): Promise<boolean> {
    if (Buffer.byteLength(password) > PASSWORD_LIMITS.bytesMax) return false
    if (this.recall(stored, password)) return true
    const parsed = parsePhc(stored ?? this.#decoy)
    if (parsed === undefined) throw new Error('cannot read a stored password hash')
    const derived = await this.#derive(password, parsed.salt, parsed.cost, parsed.tag.byteLength, address)
    if (!timingSafeEqual(derived, parsed.tag) || stored === undefined) return false
    this.#remembered.set(this.#memoryOf(stored, password), true, this.#clock() + PASSWORD_LIMITS.rememberedMs)
    return true
  }

  /** Whether this password was found right a short while ago, for this very hash: without waiting. */
  recall(stored: string | undefined, password: string): boolean {
    if (stored === undefined) return false
    return this.#remembered.find(this.#memoryOf(stored, password), this.#clock()) === true
  }

  /** The hash is part of the key: a changed password is forgotten by itself. */
  #memoryOf(stored: string, password: string): string {
    return createHmac('sha256', this.#memoryKey).update(`${stored}\0${password}`).digest('base64')
  }

  async #derive(password: string, salt: Buffer, cost: Cost, length: number, address: string): Promise<Buffer> {
    const inUse = this.#addresses.get(address) ?? 0
    const isFull = this.#waiting.length >= PASSWORD_LIMITS.hashesWaitingMax
    if (isFull || inUse >= PASSWORD_LIMITS.hashesPerAddressMax)
      throw new PasswordsBusyError('too many sign-ins at once')
    this.#addresses.set(address, inUse + 1)
    try {
      await this.#takeTurn()
      try {
        return await deriveTag(password, salt, cost, length)
      } finally {
        this.#endTurn()
      }
    } finally {
      const left = (this.#addresses.get(address) ?? 1) - 1
      if (left > 0) this.#addresses.set(address, left)
      else this.#addresses.delete(address)
    }
  }

  async #takeTurn(): Promise<void> {
    if (this.#running < PASSWORD_LIMITS.hashesAtOnceMax) {
      this.#running += 1
      return
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** The turn passes to whoever waits longest. */
  #endTurn(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#running -= 1
    else next()
  }
}

type Cost = { memory: number; passes: number; parallelism: number }

function deriveTag(password: string, salt: Buffer, cost: Cost, tagLength: number): Promise<Buffer> {
  // NFC: the same letters typed on another keyboard are the same password.
  const message = password.normalize('NFC')
  return new Promise((resolve, reject) => {
    argon2('argon2id', { message, nonce: salt, tagLength, ...cost }, (error, tag) => {
      if (error === null) resolve(tag)
      else reject(error)
    })
  })
}

const PHC = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/

function formatPhc(cost: Cost, salt: Buffer, tag: Buffer): string {
  const costs = `m=${cost.memory},t=${cost.passes},p=${cost.parallelism}`
  return `$argon2id$v=19$${costs}$${unpadded(salt)}$${unpadded(tag)}`
}

function parsePhc(text: string): { cost: Cost; salt: Buffer; tag: Buffer } | undefined {
  const match = PHC.exec(text)
  if (match === null) return undefined
  const [, memory, passes, parallelism, salt = '', tag = ''] = match
  const cost = { memory: Number(memory), passes: Number(passes), parallelism: Number(parallelism) }
  const isTooMuch =
    cost.memory > COST_MAX.memory || cost.passes > COST_MAX.passes || cost.parallelism > COST_MAX.parallelism
  return isTooMuch ? undefined : { cost, salt: Buffer.from(salt, 'base64'), tag: Buffer.from(tag, 'base64') }
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '')
}

/** Why a text cannot be a password; undefined when it can. */
export function passwordProblem(password: string): string | undefined {
  if ([...password].length < PASSWORD_LIMITS.charactersMin)
    return `at least ${PASSWORD_LIMITS.charactersMin} characters`
  if (Buffer.byteLength(password) > PASSWORD_LIMITS.bytesMax) return `at most ${PASSWORD_LIMITS.bytesMax} bytes`
  // Basic cannot carry control characters faithfully (RFC 7617, 2).
  if (/[\0-\x1f\x7f]/.test(password)) return 'no control characters'
  return undefined
}
