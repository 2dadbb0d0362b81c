/** Tokens that are secrets by themselves: 256 random bits, found by their SHA-256. */
import { createHash, randomBytes } from 'node:crypto'

const tokenBytes = 32
const TOKEN = /^[A-Za-z0-9_-]{43}$/

/** 43 letters, digits, `_` and `-`. */
export function makeSecretToken(): string {
  return randomBytes(tokenBytes).toString('base64url')
}

export function isSecretToken(text: string): boolean {
  return TOKEN.test(text)
}

/** Hex SHA-256. */
export function hashSecretToken(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
