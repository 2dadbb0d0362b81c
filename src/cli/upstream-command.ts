/** `entrepot upstream`: whether an upstream answers the server, and takes the credentials. */
import type { Command } from 'commander'
import { addConnectionOptions, type ConnectionOptions, connect } from './connection.ts'
import { CommandFailure } from './failure.ts'
import { report, type Terminal } from './terminal.ts'
import {
  addUpstreamOptions,
  findCurrentUpstream,
  readUpstream,
  type TestResult,
  testUpstream,
  type UpstreamOptions,
} from './upstream-options.ts'

const MANNERS: Record<TestResult, string> = {
  'signed in': 'and takes the credentials',
  accepted: 'and accepts the request',
  anonymous: 'without credentials',
}

type TestOptions = ConnectionOptions & UpstreamOptions

export function addUpstreamCommand(program: Command, terminal: Terminal): void {
  const upstream = program.command('upstream').description('test an upstream registry from where the server stands')
  const test = upstream
    .command('test')
    .argument('<organization>', 'an organization that you administer')
    .argument(
      '[upstream]',
      'HOST[:PORT][/NAMESPACE]; without it the one that the organization has, with its credentials',
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
  const current = await findCurrentUpstream(client, name)
  const tested = given ?? current.upstream
  if (tested === '') {
    const hint = `set one: entrepot organization set-upstream ${name} UPSTREAM`
    throw new CommandFailure('refused', `${name} has no upstream`, { hint })
  }
  const result = await testUpstream(client, name, await readUpstream(tested, current, options, terminal))
  report(terminal, options.json, { upstream_registry: tested, test: result }, [`${tested} answers ${MANNERS[result]}.`])
}
