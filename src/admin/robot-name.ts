/** Names of robots: `owner+short`, where the owner is an organization or a user. */
import { isOrganizationName } from '../oci/repository-name.ts'

/** What the console of Quay takes as the short name; its API takes dots and dashes too, which ours refuses. */
const SHORT = /^[a-z][a-z0-9_]{1,254}$/

export const ROBOT_SHORT_NAME_GRAMMAR = '2 to 255 lower-case letters, digits and underscores, a letter first'

export function isRobotShortName(text: string): boolean {
  return SHORT.test(text)
}

export function formatRobotName(owner: string, short: string): string {
  return `${owner}+${short}`
}

/** `owner+short` to both; undefined when it is no name of a robot. */
export function parseRobotName(text: string): { owner: string; short: string } | undefined {
  const plus = text.indexOf('+')
  if (plus < 0) return undefined
  const [owner, short] = [text.slice(0, plus), text.slice(plus + 1)]
  return isOrganizationName(owner) && isRobotShortName(short) ? { owner, short } : undefined
}

export function isRobotName(text: string): boolean {
  return parseRobotName(text) !== undefined
}
