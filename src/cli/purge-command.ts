/** `entrepot purge`: what is cached goes now; the next pull fetches it again. */
import type { Command } from 'commander'
import { z } from 'zod'
import { formatByteSize } from '../base/byte-size.ts'
import { SECOND_MS } from '../base/units.ts'
import { type ApiAnswer, type ApiClient, refusal } from './api-client.ts'
import { addConnectionOptions, type ConnectionOptions, connect } from './connection.ts'
import { CommandFailure } from './failure.ts'
import { printable, report, type Terminal } from './terminal.ts'
import { organizationPath } from './upstream-options.ts'

type PurgeOptions = ConnectionOptions & { yes?: true; includePinned?: true }

type Watching = { terminal: Terminal; delayMs: (ms: number) => Promise<void> }

const pollMs = SECOND_MS
const listedMax = 10

const FORESEEN = z.object({
  images: z.number(),
  freed_bytes: z.number().nullable(),
  skipped_pinned: z.number(),
  skipped_in_use: z.number(),
  listed: z.array(z.object({ repository: z.string(), digest: z.string(), tags: z.array(z.string()) })),
})

const PURGED = z.object({
  state: z.enum(['running', 'done', 'failed']),
  total: z.number(),
  seen: z.number(),
  removed_images: z.number(),
  freed_bytes: z.number(),
  skipped_pinned: z.number(),
  skipped_in_use: z.number(),
})

export function addPurgeCommand(program: Command, watching: Watching): void {
  const purge = program.command('purge').argument('<what>', 'ORGANIZATION, ORGANIZATION/REPOSITORY, …:TAG or …@DIGEST')
  addConnectionOptions(purge)
    .description('remove what is cached, bytes included; the next pull fetches it again from the upstream')
    .option('--yes', 'do not ask; needed without a terminal')
    .option('--include-pinned', 'also what is pinned')
    .addHelpText('after', help)
    .action((what: string, options: PurgeOptions) => purgeCache(what, options, watching))
}

const help = `
Organization administrators and superusers may. Images that a client is receiving stay, and are counted. With a tag the
image goes with all its tags.

Examples:
  entrepot purge hub                              everything that the organization has cached
  entrepot purge hub/library/alpine               one repository
  entrepot purge hub/library/alpine:3.20 --yes    one image, without a question`

type Target = { organization: string; repository?: string; reference?: string }

/** Errors: CommandFailure. */
function parseTarget(what: string): Target {
  const slash = what.indexOf('/')
  if (slash < 0 && !/[:@]/.test(what) && what !== '') return { organization: what }
  const rest = what.slice(slash + 1)
  const at = rest.includes('@') ? rest.indexOf('@') : rest.indexOf(':')
  const repository = at < 0 ? rest : rest.slice(0, at)
  const reference = at < 0 ? undefined : rest.slice(at + 1)
  if (slash > 0 && repository !== '' && reference !== '') {
    return { organization: what.slice(0, slash), repository, ...(reference === undefined ? {} : { reference }) }
  }
  const hint = 'write ORGANIZATION, ORGANIZATION/REPOSITORY, and perhaps :TAG or @DIGEST behind the repository'
  throw new CommandFailure('usage', `cannot purge ${printable(what)}`, { hint })
}

async function purgeCache(what: string, options: PurgeOptions, watching: Watching): Promise<void> {
  const { terminal } = watching
  const { organization, ...scope } = parseTarget(what)
  const client = await connect(options, terminal)
  const path = organizationPath(organization, 'purge')
  const body = { ...scope, include_pinned: options.includePinned === true }
  if (options.yes !== true) await confirm(client, path, body, what, terminal)
  const answer = await client.send('POST', path, body)
  if (answer.status !== 200 && answer.status !== 202) throw refusal(`purge ${printable(what)}`, answer)
  const purged = await watch(client, path, answer, watching)
  report(terminal, options.json, purged, [
    `Removed ${purged.removed_images} ${imagesOf(purged.removed_images)} of ${what}, ${formatByteSize(purged.freed_bytes)}.`,
    ...skipped(purged),
  ])
}

/** Errors: CommandFailure unless somebody has said yes. */
async function confirm(client: ApiClient, path: string, body: object, what: string, terminal: Terminal): Promise<void> {
  const answer = await client.send('POST', path, { ...body, dry_run: true })
  if (answer.status !== 200) throw refusal(`purge ${printable(what)}`, answer)
  const foreseen = parse(FORESEEN, answer)
  const bytes = foreseen.freed_bytes === null ? '' : `, ${formatByteSize(foreseen.freed_bytes)}`
  const lines = [
    `${foreseen.images} ${imagesOf(foreseen.images)} of ${what} would go${bytes}:`,
    ...foreseen.listed
      .slice(0, listedMax)
      .map(({ repository, digest, tags }) => `  ${repository} ${tags.length > 0 ? tags.join(', ') : digest}`),
    ...(foreseen.images > listedMax
      ? [`  and ${foreseen.images - Math.min(listedMax, foreseen.listed.length)} more`]
      : []),
    ...skipped(foreseen),
  ]
  terminal.writeError(lines.map((line) => `${printable(line)}\n`).join(''))
  const said = await terminal.readAnswer('Remove them? [y/N] ')
  if (said === undefined) {
    throw new CommandFailure('refused', 'nothing was removed: nobody could be asked', { hint: 'add --yes' })
  }
  if (!/^y(?:es)?$/i.test(said.trim())) throw new CommandFailure('refused', 'nothing was removed')
}

/** What is long goes on behind the answer. */
async function watch(client: ApiClient, path: string, first: ApiAnswer, { terminal, delayMs }: Watching) {
  let purged = parse(PURGED, first)
  while (purged.state === 'running') {
    if (terminal.isWatched) terminal.writeError(`\r\x1b[K${purged.seen} of ${purged.total} images`)
    await delayMs(pollMs)
    const answer = await client.send('GET', path)
    if (answer.status !== 200) throw refusal('watch the purge: was the server restarted?', answer)
    purged = parse(PURGED, answer)
  }
  if (terminal.isWatched && first.status === 202) terminal.writeError('\r\x1b[K')
  if (purged.state === 'done') return purged
  const hint = "the server's log has the cause; run it again"
  throw new CommandFailure('refused', `the purge ended early, after ${purged.removed_images} images`, { hint })
}

function skipped(counts: { skipped_pinned: number; skipped_in_use: number }): string[] {
  return [
    ...(counts.skipped_pinned > 0
      ? [`${counts.skipped_pinned} are pinned and stay; --include-pinned takes them.`]
      : []),
    ...(counts.skipped_in_use > 0 ? [`${counts.skipped_in_use} are being received and stay; try again later.`] : []),
  ]
}

function parse<Schema extends z.ZodType>(schema: Schema, answer: ApiAnswer): z.output<Schema> {
  const parsed = schema.safeParse(answer.body)
  if (parsed.success) return parsed.data
  throw new CommandFailure('unreachable', 'the server does not answer as Entrepot does')
}

function imagesOf(count: number): string {
  return count === 1 ? 'image' : 'images'
}
