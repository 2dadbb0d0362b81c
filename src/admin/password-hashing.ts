/** A new password to its hash, or to what its sender is told. */
import { AdminError, invalidRequest } from './admin-error.ts'
import { type Passwords, PasswordsBusyError, passwordProblem } from './passwords.ts'
import { networkOf } from './sign-in-limit.ts'

/** Errors: AdminError INVALID_REQUEST. */
export function checkPassword(password: string): void {
  const problem = passwordProblem(password)
  if (problem !== undefined) throw invalidRequest(`password: expected ${problem}`)
}

/** Errors: AdminError INVALID_REQUEST, TOO_MANY_REQUESTS. */
export async function hashNewPassword(passwords: Passwords, password: string, address: string): Promise<string> {
  checkPassword(password)
  try {
    return await passwords.hash(password, networkOf(address))
  } catch (error) {
    if (!(error instanceof PasswordsBusyError)) throw error
    throw new AdminError('TOO_MANY_REQUESTS', error.message, { cause: error, retryAfterSeconds: 1 })
  }
}
