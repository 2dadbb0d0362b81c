/** docs/permissions.md, from the permission table. */
import { mayDo } from '../src/admin/permission-decision.ts'
import {
  PEOPLE,
  type Person,
  RULES,
  type Rule,
  type RuleName,
  STANDINGS,
  standingsAt,
} from '../src/admin/permission-rules.ts'
import { API_OPERATIONS, REGISTRY_OPERATIONS } from '../src/admin/permission-table.ts'
import { GIVEN_BY, type Power } from '../src/admin/scopes.ts'
import { generatedFrom, table } from './markdown.ts'

const people = Object.keys(PEOPLE) as Person[]
const ruleNames = Object.keys(RULES) as RuleName[]
const registryRules = new Set(Object.values(REGISTRY_OPERATIONS).flatMap((rows) => rows.map(({ rule }) => rule)))

export function permissionsPage(): string {
  return `${generatedFrom('src/admin/permission-rules.ts and src/admin/permission-table.ts')}
# Who may do what

Every operation obeys one rule, and every rule says who may. The server asks these tables before it does anything, and
\`test/permissions\` tries every cell of them over HTTP.

Without credentials the API answers \`401\`; somebody who is signed in and may not, \`403\`. A repository is not told to
exist (\`404\`) to those who may not see it; names of organizations are no secret. A robot signs in to the registry
only.

## The rules

${table(
  ['rule', 'who', ...people],
  ruleNames.map((name) => [`\`${name}\``, RULES[name].sentence, ...people.map((person) => cellOf(person, name))]),
)}
✓ may; R may while nothing is changed; – may not. The last columns are users and robots that have a permission in the
repository and nothing else. Beside these:

${table(
  ['who', 'may obey'],
  (['self', 'quotaAdmin', 'teamMember', 'guest'] as const).map((standing) => [
    STANDINGS[standing],
    ruleNames
      .filter((name) => (RULES[name] as Rule).may[standing] !== undefined)
      .map((name) => `\`${name}\``)
      .join(', '),
  ]),
)}
## Scopes

A token does what its owner may, and of that what its scopes give. By standing of its owner, any scope of each cell is
enough; where a cell has *and*, one of each side is needed.

${table(
  ['rule', 'scopes'],
  ruleNames.map((name) => [`\`${name}\``, scopesOf(RULES[name])]),
)}
## The API

All below \`/api/v1\`. *own*: changes only what is the caller’s own, so those who may read everything and change nothing
may too. *fresh*: in a session, the password must have been given a short while ago (\`FRESH_LOGIN_TIMEOUT\`).

${table(
  ['operation', 'request', 'rule', ''],
  API_OPERATIONS.map(({ id, method, path, rule, effect, freshLogin }) => [
    `\`${id}\``,
    `\`${method} ${path}\``,
    `\`${rule}\``,
    [effect, ...(freshLogin ? ['fresh'] : [])].join(', '),
  ]),
)}
## The registry

${table(
  ['operation', 'request', 'rule'],
  Object.entries(REGISTRY_OPERATIONS).flatMap(([kind, rows]) =>
    rows.map(({ method, path, rule }) => [`\`${kind}\``, `\`${method} ${path}\``, `\`${rule}\``]),
  ),
)}`
}

function cellOf(person: Person, rule: RuleName): string {
  const standings = standingsAt(registryRules.has(rule) ? '/v2' : '/api/v1', person)
  const may = (effect: 'reads' | 'writes') => mayDo(standings, undefined, { rule, effect })
  if (may('writes')) return '✓'
  return may('reads') ? 'R' : '–'
}

function scopesOf({ may }: Rule): string {
  const byScopes = new Map<string, string[]>()
  for (const [standing, powers] of Object.entries(may)) {
    const scopes = powers.length === 0 ? 'any' : powers.map(scopesOfPower).join(' *and* ')
    byScopes.set(scopes, [...(byScopes.get(scopes) ?? []), standing])
  }
  return [...byScopes].map(([scopes, standings]) => `${standings.join(', ')}: ${scopes}`).join('; ')
}

function scopesOfPower(power: Power): string {
  return GIVEN_BY[power].map((scope) => `\`${scope}\``).join(' ')
}
