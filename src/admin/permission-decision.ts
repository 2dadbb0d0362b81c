/** The one decision on who may do what. Pure: standings, scopes and the tables, no clock and no database. */
import { RULES, type Rule, type RuleName, type Standing } from './permission-rules.ts'
import { type Scope, scopesGive } from './scopes.ts'

/** `writes`: who may read everything and change nothing is refused, whatever else they are. */
export type Asked = { rule: RuleName; effect: 'reads' | 'writes' | 'own' }

/** One standing is enough, when the scopes give all that it needs. Undefined scopes are not limited. */
export function mayDo(
  standings: Iterable<Standing>,
  scopes: ReadonlySet<Scope> | undefined,
  { rule, effect }: Asked,
): boolean {
  const { may }: Rule = RULES[rule]
  let isOpen = false
  for (const standing of standings) {
    if (standing === 'readonlySuperuser' && effect === 'writes') return false
    isOpen ||= may[standing]?.every((power) => scopesGive(scopes, power)) === true
  }
  return isOpen
}

/** Whether nobody has to be signed in. */
export function isForEverybody(rule: RuleName): boolean {
  const { may }: Rule = RULES[rule]
  return may.anonymous !== undefined
}
