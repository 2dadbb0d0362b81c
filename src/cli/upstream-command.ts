/** `entrepot upstream`: whether an upstream answers the server, and takes the credentials. */
import type { Command } from 'commander'
import { refusal } from './api-client.ts'
import { addConnectionOptions, type ConnectionOptions, connect } from './connection.ts'
import { CommandFailure } from './failure.ts'
import { upstreamOf } from './organization-command.ts'
import { printable, report, type Terminal } from './terminal.ts'
import { addUpstreamOptions, readUpstream, testUpstream, type UpstreamOptions } from './upstream-options.ts'

type TestOptions = ConnectionOptions & UpstreamOptions

export function addUpstreamCommand(program: Command, terminal: Terminal): void {
  const upstream = program.command('upstream').description('test an upstream registry from where the server stands')
  const test = upstream
    .command('test')
    .argument('<organization>', 'an organization that you administer')
    .argument(
      '[upstream]',
      'HOST[:PORT][/NAMESPACE]; without it the one the organization has, asked without its password',
    )
  addUpstreamOptions(addConnectionOptions(test))
    .description('ask an upstream whether it answers and takes the credentials; changes nothing')
    .addHelpText('after', '\nExample:\n  entrepot upstream test hub docker.io --upstream-user alice')
    .action((name: string, given: string | undefined, options: TestOptions) => runTest(name, given, options, terminal))
}

async function runTest(
  name: string,
  given: string | undefined,
  options: TestOptions,
  terminal: Terminal,
): Promise<void> {
  const client = await connect(options, terminal)
  let tested = given
  let isInsecure = options.insecure ?? false
  if (tested === undefined) {
    const current = await client.send('GET', `/organization/${encodeURIComponent(name)}/proxycache`)
    if (current.status !== 200) throw refusal(`read the upstream of ${printable(name)}`, current)
    tested = upstreamOf(current)
    isInsecure ||= Reflect.get(current.body ?? {}, 'insecure') === true
  }
  if (tested === '') {
    const hint = `set one: entrepot organization set-upstream ${printable(name)} UPSTREAM`
    throw new CommandFailure('refused', `${printable(name)} has no upstream`, { hint })
  }
  const fields = { ...(await readUpstream(tested, options, terminal)), insecure: isInsecure }
  const result = await testUpstream(client, name, fields)
  const how = result === 'signed in' ? 'and takes the credentials' : 'without credentials'
  report(terminal, options.json, { upstream_registry: tested, test: result }, [`${tested} answers ${how}.`])
}
