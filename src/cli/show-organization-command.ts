/** `entrepot organization show`: what an organization caches, how much it holds, and by which rules. */
import type { Command } from 'commander'
import { z } from 'zod'
import { formatByteSize } from '../base/byte-size.ts'
import { refusal } from './api-client.ts'
import { addConnectionOptions, type ConnectionOptions, connect } from './connection.ts'
import { CommandFailure } from './failure.ts'
import { report, type Terminal } from './terminal.ts'
import { organizationPath } from './upstream-options.ts'

/** What only members see is missing for others. */
const ORGANIZATION = z.looseObject({
  name: z.string(),
  quotas: z
    .array(
      z.object({ limit_bytes: z.number(), limits: z.array(z.object({ type: z.string(), limit_percent: z.number() })) }),
    )
    .optional(),
  quota_report: z.object({ quota_bytes: z.number(), over_bytes: z.number() }).optional(),
  tag_expiration_s: z.number().optional(),
  revalidate_after_s: z.number().optional(),
  max_stale_s: z.number().nullish(),
  refuse_when_denied: z.boolean().optional(),
  anonymous_pulls: z.boolean().optional(),
  frozen: z.boolean().optional(),
  passes_too_large: z.boolean().optional(),
  allowed_repositories: z.array(z.string()).optional(),
  denied_repositories: z.array(z.string()).optional(),
  mirror_host: z.string().nullish(),
})

const UPSTREAM = z.looseObject({
  upstream_registry: z.string(),
  // Empty text where there is no upstream (Quay).
  expiration_s: z.union([z.number(), z.literal('')]),
  insecure: z.union([z.boolean(), z.literal('')]),
  has_credentials: z.boolean(),
})

type Organization = z.output<typeof ORGANIZATION>
type Upstream = z.output<typeof UPSTREAM>

export function addShowOrganizationCommand(organization: Command, terminal: Terminal): void {
  addConnectionOptions(organization.command('show').argument('<organization>', 'an organization that exists'))
    .description('show its upstream, quota, charge and rules')
    .addHelpText('after', '\nExample:\n  entrepot organization show cache-quayio')
    .action((name: string, options: ConnectionOptions) => showOrganization(name, options, terminal))
}

async function showOrganization(name: string, options: ConnectionOptions, terminal: Terminal): Promise<void> {
  const client = await connect(options, terminal)
  const answer = await client.send('GET', organizationPath(name))
  if (answer.status !== 200) throw refusal(`show ${name}`, answer)
  // Who may not see it, or with FEATURE_PROXY_CACHE off, is shown the rest.
  const cache = await client.send('GET', organizationPath(name, 'proxycache'))
  const organization = ORGANIZATION.safeParse(answer.body)
  const upstream = cache.status === 200 ? UPSTREAM.safeParse(cache.body) : undefined
  if (!organization.success || upstream?.success === false) {
    throw new CommandFailure('unreachable', 'the server does not answer as Entrepot does')
  }
  const rows = [
    ...describeUpstream(upstream?.data),
    ...describeSpace(organization.data),
    ...describeRules(organization.data),
  ]
  const width = Math.max(...rows.map(([label]) => label.length))
  report(terminal, options.json, { ...organization.data, proxycache: upstream?.data ?? null }, [
    name,
    ...rows.map(([label, text]) => `  ${label.padEnd(width)}  ${text}`),
  ])
}

type Rows = [label: string, text: string][]

function describeUpstream(upstream: Upstream | undefined): Rows {
  if (upstream === undefined || upstream.upstream_registry === '') return [['upstream', 'none']]
  const { upstream_registry: registry, has_credentials: hasCredentials, expiration_s: seconds } = upstream
  return [
    [
      'upstream',
      `${registry}${upstream.insecure ? ', plain HTTP' : ''}${hasCredentials ? ', with credentials' : ', anonymously'}`,
    ],
    ['tags live', seconds ? `${seconds} s after the last pull` : 'for ever'],
  ]
}

function describeSpace({ quotas, quota_report: space }: Organization): Rows {
  if (space === undefined) return []
  const quota = quotas?.[0]
  const limits = quota?.limits.map(({ type, limit_percent }) => `${type} at ${limit_percent} %`) ?? []
  return [
    [
      'charge',
      formatByteSize(space.quota_bytes) + (space.over_bytes > 0 ? `, ${formatByteSize(space.over_bytes)} over` : ''),
    ],
    ['quota', quota === undefined ? 'none of its own' : [formatByteSize(quota.limit_bytes), ...limits].join(', ')],
  ]
}

function describeRules(organization: Organization): Rows {
  if (organization.tag_expiration_s === undefined) return []
  const yes = (flag: boolean | undefined) => (flag ? 'yes' : 'no')
  const stale = organization.max_stale_s
  const globs = (list: readonly string[] | undefined, none: string) => list?.join(', ') || none
  return [
    ['Time Machine', `${organization.tag_expiration_s} s`],
    ['confirmed again after', `${organization.revalidate_after_s ?? 0} s`],
    ['served stale for', stale === null || stale === undefined ? 'as long as it is kept' : `${stale} s at most`],
    ['refuses when denied', yes(organization.refuse_when_denied)],
    ['anonymous pulls', yes(organization.anonymous_pulls)],
    ['frozen', yes(organization.frozen)],
    ['too large', organization.passes_too_large ? 'passed through' : 'refused'],
    ['allowed', globs(organization.allowed_repositories, 'everything')],
    ['denied', globs(organization.denied_repositories, 'nothing')],
    ...(organization.mirror_host ? [['mirror of', organization.mirror_host] as [string, string]] : []),
  ]
}
