/** One cell of the table for the API: one person, with a token of some scopes, asks for one operation. */

import { csrfTokenOf } from '../../src/admin/csrf.ts'
import { mayDo } from '../../src/admin/permission-decision.ts'
import { type Person, RULES, type Standing, standingsAt } from '../../src/admin/permission-rules.ts'
import type { ApiOperation } from '../../src/admin/permission-table.ts'
import { SCOPES, type Scope } from '../../src/admin/scopes.ts'
import type { Asking, Example } from './example.ts'
import { ENDS_THE_CALLER, EXAMPLES, PARAMS } from './examples.ts'
import type { Answer, World } from './world.ts'

export type Cell = {
  person: Person
  operation: ApiOperation
  scopes?: readonly Scope[]
  /** What the person is beside what the table has. */
  more?: readonly Standing[]
}

const VISITOR = 'a'.repeat(43)

/** Undefined when the answer is what the table says; else a line that says what was answered instead. */
export async function tryCell(world: World, cell: Cell): Promise<string | undefined> {
  const { person, operation, scopes = SCOPES, more = [] } = cell
  const standings = [...standingsAt('/api/v1', person), ...more]
  const isOpen = mayDo(standings, new Set(scopes), operation)
  const answer = await ask({ world, person, scopes }, operation, isOpen)
  if (isOpen && ENDS_THE_CALLER.has(operation.id) && person !== 'anonymous') await world.enroll(person)
  const { statuses = [200, 201, 202, 204] } = EXAMPLES[operation.id] ?? {}
  const isRight = isOpen ? statuses.includes(answer.status) : isRefusal(answer, person, operation)
  if (isRight) return undefined
  const who = scopes === SCOPES ? person : `${person} with ${scopes.join(' ')}`
  const wanted = isOpen ? statuses.join(' or ') : 'a refusal'
  return `${who}: ${operation.id}: ${answer.status} instead of ${wanted}: ${answer.text.slice(0, 300)}`
}

/** 401 to nobody and to robots, which the API does not know; a stranger is not told which repositories there are. */
function isRefusal({ status, text }: Answer, person: Person, { rule }: ApiOperation): boolean {
  if (person === 'anonymous') return status === 401 && text.includes('Requires authentication')
  if (person.startsWith('robot')) return status === 401
  const isHidden =
    RULES[rule].about === 'repository' && !mayDo(standingsAt('/api/v1', person), undefined, SEE_REPOSITORY)
  return isHidden
    ? status === 404 && text.includes('repository not found')
    : status === 403 && text.includes('Unauthorized')
}

const SEE_REPOSITORY = { rule: 'repository.see', effect: 'reads' } as const

async function ask(asking: Asking, operation: ApiOperation, isOpen: boolean): Promise<Answer> {
  const { world, person, scopes } = asking
  const example: Example = EXAMPLES[operation.id] ?? {}
  const params = { ...PARAMS, ...example.params, ...(await make(asking, operation.id, example, isOpen)) }
  const body = typeof example.body === 'function' ? example.body(asking, params) : example.body
  const authorization = await world.authorize(person, scopes)
  const headers: Record<string, string> = {
    // What a browser has before anybody signs in.
    ...(authorization === undefined
      ? { cookie: `session=${VISITOR}`, 'x-csrf-token': csrfTokenOf(VISITOR) }
      : { authorization }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
  }
  const path = `/api/v1${fill(operation.path, params)}${example.query ?? ''}`
  return world.ask(operation.method, path, { headers, ...(body !== undefined && { body: JSON.stringify(body) }) })
}

/** What is refused changes nothing, so that it can be asked for again. */
async function make(asking: Asking, id: string, example: Example, isOpen: boolean): Promise<Example['params']> {
  const { kept } = asking.world
  const known = isOpen ? undefined : kept.get(id)
  const made = known ?? (await example.make?.(asking)) ?? {}
  if (!isOpen) kept.set(id, made)
  return made
}

function fill(path: string, params: Readonly<Record<string, string>>): string {
  return path
    .replace('*', `${params['organization']}/${params['repository']}`)
    .replaceAll(/:(\w+)/g, (_whole, name: string) => params[name] ?? 'nothing')
}
