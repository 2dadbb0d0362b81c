/** `entrepot organization set-quota`: how much an organization may store. */
import { type Command, InvalidArgumentError } from 'commander'
import { formatByteSize, parseByteSize } from '../base/byte-size.ts'
import { isOrganizationName } from '../oci/repository-name.ts'
import { type ApiAnswer, type ApiClient, refusal } from './api-client.ts'
import { addConnectionOptions, type ConnectionOptions, connect } from './connection.ts'
import { CommandFailure } from './failure.ts'
import { printable, report, type Terminal } from './terminal.ts'

type LimitType = 'Warning' | 'Reject'
type Limit = { id: number; type: LimitType; limit_percent: number }
type Quota = { id: number; limit_bytes: number; limits: Limit[]; over_bytes: number }
type Options = ConnectionOptions & { warn?: number; reject?: number; none?: boolean }

export function addSetQuotaCommand(organization: Command, terminal: Terminal): void {
  const command = organization
    .command('set-quota')
    .argument('<organization>', 'an organization that exists')
    .argument('[size]', 'such as 150MB or "10 GiB"', readSize)
  addConnectionOptions(command)
    .description('say how much an organization may store; superusers may')
    .option('--warn <percent>', 'tell its administrators from this part of it on; replaces the former one', readPercent)
    .option('--reject <percent>', 'keep within this part of it; replaces the former one', readPercent)
    .option('--none', 'remove the quota with its percentages')
    .addHelpText('after', examples)
    .action((name: string, size: number | undefined, options: Options) => setQuota(name, size, options, terminal))
}

const examples = `
What is above a new limit is removed in small steps, what was used least recently first.

Examples:
  entrepot organization set-quota cache-quayio 150MB
  entrepot organization set-quota hub "10 GiB" --warn 80
  entrepot organization set-quota hub --none`

function readSize(text: string): number {
  const bytes = /^\d{1,16}$/.test(text) ? Number(text) : parseByteSize(text)
  if (bytes !== undefined && Number.isSafeInteger(bytes) && bytes > 0) return bytes
  throw new InvalidArgumentError('expected whole bytes above 0, or a size such as 150MB or "10 GiB"')
}

function readPercent(text: string): number {
  const percent = /^\d{1,3}$/.test(text) ? Number(text) : 0
  if (percent >= 1 && percent <= 100) return percent
  throw new InvalidArgumentError('expected a whole number from 1 to 100')
}

async function setQuota(name: string, size: number | undefined, options: Options, terminal: Terminal): Promise<void> {
  const isRemoval = options.none === true
  const hasLimits = options.warn !== undefined || options.reject !== undefined
  if (isRemoval ? size !== undefined || hasLimits : size === undefined && !hasLimits) {
    const hint = 'entrepot organization set-quota --help has examples'
    throw new CommandFailure('usage', 'expected a size or percentages, or else --none alone', { hint })
  }
  if (!isOrganizationName(name)) {
    throw new CommandFailure('usage', `cannot use ${printable(name)} as the name of an organization`)
  }
  const client = await connect(options, terminal)
  const path = `/organization/${name}/quota`
  const current = await findQuota(client, name, path)
  if (isRemoval) {
    if (current !== undefined) await expectStatus(name, client.send('DELETE', `${path}/${current.id}`), 204)
    report(terminal, options.json, { organization: name, quota: null }, [`${name} has no quota.`])
    return
  }
  if (size !== undefined) await setSize(client, name, path, current, size)
  const quota = await findQuota(client, name, path)
  if (quota === undefined) throw new CommandFailure('refused', `${name} has no quota yet: give a size too`)
  await setLimit(client, name, `${path}/${quota.id}/limit`, quota, 'Warning', options.warn)
  await setLimit(client, name, `${path}/${quota.id}/limit`, quota, 'Reject', options.reject)
  const result = (await findQuota(client, name, path)) ?? quota
  report(terminal, options.json, { organization: name, quota: result }, describe(name, result))
}

async function setSize(
  client: ApiClient,
  name: string,
  path: string,
  current: Quota | undefined,
  bytes: number,
): Promise<void> {
  const body = { limit_bytes: bytes }
  if (current === undefined) await expectStatus(name, client.send('POST', path, body), 201)
  else await expectStatus(name, client.send('PUT', `${path}/${current.id}`, body), 200)
}

/** The wanted one first, so that a failure in between leaves too many rather than none. */
async function setLimit(
  client: ApiClient,
  name: string,
  path: string,
  quota: Quota,
  type: LimitType,
  percent: number | undefined,
): Promise<void> {
  if (percent === undefined) return
  const former = quota.limits.filter((limit) => limit.type === type)
  if (!former.some((limit) => limit.limit_percent === percent)) {
    await expectStatus(name, client.send('POST', path, { type, threshold_percent: percent }), 201)
  }
  for (const { id, limit_percent } of former) {
    if (limit_percent !== percent) await expectStatus(name, client.send('DELETE', `${path}/${id}`), 204)
  }
}

/** The organization's own; the system's default has no id. */
async function findQuota(client: ApiClient, name: string, path: string): Promise<Quota | undefined> {
  const answer = await client.send('GET', path)
  if (answer.status !== 200) throw refusal(`read the quota of ${name}`, answer)
  const quotas: unknown[] = Array.isArray(answer.body) ? answer.body : []
  return quotas.find((quota): quota is Quota => {
    return typeof quota === 'object' && quota !== null && typeof Reflect.get(quota, 'id') === 'number'
  })
}

async function expectStatus(name: string, sending: Promise<ApiAnswer>, status: number): Promise<void> {
  const answer = await sending
  if (answer.status !== status) throw refusal(`set the quota of ${name}`, answer)
}

function describe(name: string, quota: Quota): string[] {
  const limits = quota.limits.map((limit) => `${limit.type} at ${limit.limit_percent} %`)
  const lines = [`${[`${name} may store ${formatByteSize(quota.limit_bytes)}`, ...limits].join(', ')}.`]
  if (quota.over_bytes === 0) return lines
  return [...lines, `It is ${formatByteSize(quota.over_bytes)} above its limit; what was used least recently goes.`]
}
