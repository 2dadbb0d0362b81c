/** Names of accounts, in Quay's grammar: they share one space with organizations. */

/** Quay's limits for a user name. */
export const usernameCharactersMin = 2
export const usernameCharactersMax = 255

const USERNAME = /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/

export function isUsername(text: string): boolean {
  return text.length >= usernameCharactersMin && text.length <= usernameCharactersMax && USERNAME.test(text)
}

/** RFC 5321, 4.5.3.1.3, less the angle brackets. */
const emailCharactersMax = 254

/** A mail server is the only judge of an address; this keeps out what can be none. */
export function isEmail(text: string): boolean {
  return text.length <= emailCharactersMax && /^[\x21-\x3f\x41-\x7e]+@[\x21-\x3f\x41-\x7e]+$/.test(text)
}
