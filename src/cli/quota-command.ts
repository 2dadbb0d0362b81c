/** `entrepot quota`: what an organization's quota means for what is cached. */
import { type Command, InvalidArgumentError } from 'commander'
import { z } from 'zod'
import { formatByteSize, parseByteSize } from '../base/byte-size.ts'
import { refusal } from './api-client.ts'
import { addConnectionOptions, type ConnectionOptions, connect } from './connection.ts'
import { CommandFailure } from './failure.ts'
import { report, type Terminal } from './terminal.ts'
import { organizationPath } from './upstream-options.ts'

const PREVIEW = z.object({
  bytes: z.number(),
  outcome: z.enum(['fits', 'evicts', 'blocked', 'too_large']),
  fits: z.boolean(),
  charge_bytes: z.number(),
  limit_bytes: z.number().nullable(),
  freed_bytes: z.number(),
  images: z.array(
    z.object({
      repository: z.string(),
      tags: z.array(z.string()),
      digest: z.string(),
      last_pulled: z.number(),
      size_bytes: z.number(),
      frees_bytes: z.number(),
    }),
  ),
})

export function addQuotaCommand(program: Command, terminal: Terminal): void {
  const quota = program.command('quota').description('see what an organization’s quota means')
  const preview = quota
    .command('preview')
    .argument('<organization>', 'an organization that exists')
    .argument('<size>', 'what would be pulled: bytes, or such as "700 MB" or "1.5 GiB"', readBytes)
  addConnectionOptions(preview)
    .description('what would be evicted now for so much more; nothing changes')
    .addHelpText('after', '\nExample:\n  entrepot quota preview cache-quayio "700 MB"')
    .action((name: string, bytes: number, options: ConnectionOptions) =>
      previewEviction(name, bytes, options, terminal),
    )
}

function readBytes(text: string): number {
  const bytes = /^\d{1,16}$/.test(text) ? Number(text) : parseByteSize(text)
  if (bytes === undefined || !Number.isSafeInteger(bytes) || bytes < 1) {
    throw new InvalidArgumentError('expected bytes, or a size such as "700 MB" or "1.5 GiB"')
  }
  return bytes
}

async function previewEviction(
  name: string,
  bytes: number,
  options: ConnectionOptions,
  terminal: Terminal,
): Promise<void> {
  const client = await connect(options, terminal)
  const answer = await client.send('GET', `${organizationPath(name, 'quota/preview')}?bytes=${bytes}`)
  if (answer.status !== 200) throw refusal(`preview an eviction of ${name}`, answer)
  const parsed = PREVIEW.safeParse(answer.body)
  if (!parsed.success) throw new CommandFailure('unreachable', 'the server does not answer as Entrepot does')
  report(terminal, options.json, parsed.data, describe(name, parsed.data))
}

function describe(name: string, preview: z.output<typeof PREVIEW>): string[] {
  const limit = preview.limit_bytes === null ? 'no limit' : `a limit of ${formatByteSize(preview.limit_bytes)}`
  const more = formatByteSize(preview.bytes)
  const begin = `${name} holds ${formatByteSize(preview.charge_bytes)}, with ${limit}.`
  switch (preview.outcome) {
    case 'fits':
      return [begin, `${more} more fit; nothing would go.`]
    case 'blocked':
      return [begin, `${more} more would be passed through uncached: only images that are being received could go.`]
    case 'too_large':
      return [begin, `${more} more would not fit, even with everything gone that is not pinned; nothing would go.`]
    case 'evicts':
      return [
        begin,
        `For ${more} more these would go, in this order, and free ${formatByteSize(preview.freed_bytes)}:`,
        ...preview.images.map(
          ({ repository, tags, digest, last_pulled, frees_bytes }) =>
            `  ${repository} ${tags.length > 0 ? tags.join(', ') : digest}, last pulled ` +
            `${new Date(last_pulled).toISOString()}, frees ${formatByteSize(frees_bytes)}`,
        ),
      ]
    default:
      throw new Error(`unhandled outcome: ${preview.outcome satisfies never}`)
  }
}
