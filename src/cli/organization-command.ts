/** `entrepot organization`: an organization stands for one upstream registry. */
import { type Command, InvalidArgumentError } from 'commander'
import { parseDuration } from '../config/values.ts'
import { refusal } from './api-client.ts'
import { addConnectionOptions, type ConnectionOptions, connect } from './connection.ts'
import { addSetQuotaCommand } from './set-quota-command.ts'
import { addShowOrganizationCommand } from './show-organization-command.ts'
import { report, type Terminal } from './terminal.ts'
import {
  addUpstreamOptions,
  findCurrentUpstream,
  organizationPath,
  readUpstream,
  testUpstream,
  type UpstreamOptions,
} from './upstream-options.ts'

type CreateOptions = ConnectionOptions & { email?: string }
type SetOptions = ConnectionOptions & UpstreamOptions & { expiration?: number; test: boolean }

export function addOrganizationCommand(program: Command, terminal: Terminal): void {
  const organization = program
    .command('organization')
    .description('create organizations, say which upstream each caches and how much it may store')
  addConnectionOptions(organization.command('create').argument('<name>', 'the first part of its images’ names'))
    .description('create an organization')
    .option('--email <address>', 'where its administrators can be written to')
    .addHelpText('after', '\nExample:\n  entrepot organization create cache-quayio --user admin')
    .action((name: string, options: CreateOptions) => createOrganization(name, options, terminal))
  const setUpstream = organization
    .command('set-upstream')
    .argument('<organization>', 'an organization that exists')
    .argument('<upstream>', 'HOST[:PORT][/NAMESPACE], such as quay.io or quay.io/projectquay')
  addUpstreamOptions(addConnectionOptions(setUpstream))
    .description('say which upstream an organization caches; the upstream is tested first')
    .option(
      '--expiration <time>',
      'how long a tag lives after its last pull: seconds, or 12h, 1d, 2w; 0: for ever',
      readExpiration,
    )
    .option('--no-test', 'set it without asking the upstream first')
    .addHelpText('after', setExamples)
    .action((name: string, upstream: string, options: SetOptions) =>
      setOrganizationUpstream(name, upstream, options, terminal),
    )
  addSetQuotaCommand(organization, terminal)
  addShowOrganizationCommand(organization, terminal)
}

const setExamples = `
Without --upstream-user a new upstream is asked anonymously, and the same one keeps its user. The upstream's password
is asked for, or is ENTREPOT_UPSTREAM_PASSWORD or a line of standard input (after the password of --user).

Examples:
  entrepot organization set-upstream cache-quayio quay.io
  entrepot organization set-upstream hub docker.io --upstream-user alice --expiration 2w
  entrepot organization set-upstream lab registry.lan:5000 --insecure`

function readExpiration(text: string): number {
  const seconds = /^\d{1,10}$/.test(text) ? Number(text) : parseDuration(text)
  if (seconds === undefined) throw new InvalidArgumentError('expected seconds, or a time such as 12h, 1d or 2w')
  return seconds
}

async function createOrganization(name: string, options: CreateOptions, terminal: Terminal): Promise<void> {
  const client = await connect(options, terminal)
  const answer = await client.send('POST', '/organization/', {
    name,
    ...(options.email ? { email: options.email } : {}),
  })
  if (answer.status !== 201) throw refusal(`create organization ${name}`, answer)
  report(terminal, options.json, { name }, [
    `Created organization ${name}.`,
    `Next: entrepot organization set-upstream ${name} quay.io`,
  ])
}

async function setOrganizationUpstream(
  name: string,
  upstream: string,
  options: SetOptions,
  terminal: Terminal,
): Promise<void> {
  const client = await connect(options, terminal)
  const current = await findCurrentUpstream(client, name)
  const fields = {
    ...(await readUpstream(upstream, current, options, terminal)),
    ...(options.expiration === undefined ? {} : { expiration_s: options.expiration }),
  }
  const result = options.test ? await testUpstream(client, name, fields) : 'not tested'
  const answer = await client.send(
    current.upstream === '' ? 'POST' : 'PUT',
    organizationPath(name, 'proxycache'),
    fields,
  )
  if (answer.status !== 201 && answer.status !== 200) throw refusal(`set the upstream of ${name}`, answer)
  report(terminal, options.json, { organization: name, upstream_registry: upstream, test: result }, [
    `${name} now caches ${upstream} (${result}).`,
    `Next: podman pull ${new URL(client.server).host}/${name}/REPOSITORY:TAG`,
  ])
}
