/** What a setting's value may be. Messages say what is expected and never repeat the value: it can be a secret. */
import { isIP, isIPv4, isIPv6 } from 'node:net'
import { z } from 'zod'
import { parseByteSize } from '../base/byte-size.ts'
import { isOrganizationName } from '../oci/repository-name.ts'
import { isNotAnUpstreamName, parseUpstreamName } from '../oci/upstream-name.ts'

/** Longest text of one value; a path, a URI or a long list of hosts fits with room to spare. */
const textCharactersMax = 4096
const listEntriesMax = 1000
const secondsMax = 100 * 366 * 86_400

const SECONDS_PER_UNIT = { s: 1, m: 60, h: 3600, d: 86_400, w: 7 * 86_400 } as const
export const flag = z.boolean({ error: 'expected true or false' })

/** Text that `accepts` accepts; `expected` ends the message. */
export function text(expected: string, accepts: (value: string) => boolean = () => true): z.ZodType<string> {
  const error = `expected ${expected}`
  return z
    .string({ error })
    .min(1, { error })
    .max(textCharactersMax, { error: `expected at most ${textCharactersMax} characters` })
    .refine((value) => !/[\0\r\n]/.test(value) && accepts(value), { error })
}

/** Text that may well be written as a number without quotes, which YAML would round. */
export const secretText = z
  .string({ error: 'expected text; put it in quotes if it is made of digits' })
  .min(1, { error: 'expected text that is not empty' })
  .max(textCharactersMax, { error: `expected at most ${textCharactersMax} characters` })

export function list<Item>(item: z.ZodType<Item>, expected: string): z.ZodType<Item[]> {
  return z.array(item, { error: `expected a list of ${expected}` }).max(listEntriesMax, {
    error: `expected at most ${listEntriesMax} entries`,
  })
}

export function wholeNumber(minimum: number, maximum: number): z.ZodType<number> {
  const error = `expected a whole number from ${minimum} to ${maximum}`
  return z.int({ error }).min(minimum, { error }).max(maximum, { error })
}

export function oneOf<const Choice extends string>(choices: readonly Choice[]): z.ZodType<Choice> {
  return z.enum(choices, { error: `expected one of ${choices.join(', ')}` })
}

/** Seconds, from a whole number of them or from Quay's `30s`, `10m`, `12h`, `1d`, `2w`. */
export function duration(minimumSeconds = 0, maximumSeconds = secondsMax): z.ZodType<number> {
  const range = maximumSeconds === secondsMax ? '' : `, from ${minimumSeconds} s to ${maximumSeconds} s`
  return converted(`a duration such as 30s, 10m, 12h, 1d or 2w${range}`, (value) => {
    const seconds = typeof value === 'number' ? value : parseDuration(value)
    return isWhole(seconds) && seconds >= minimumSeconds && seconds <= maximumSeconds ? seconds : undefined
  })
}

/** Bytes, from a whole number of them or from text such as `500 MB` or `2 GiB`. */
export const byteSize: z.ZodType<number> = converted('a number of bytes, or a size such as 500 MB or 2 GiB', (value) =>
  byteSizeOf(value, 0),
)

/** The same, and not nothing. */
export const positiveByteSize: z.ZodType<number> = converted(
  'a number of bytes above 0, or a size such as 500 MB or 2 GiB',
  (value) => byteSizeOf(value, 1),
)

/** Quay's durations to seconds; undefined when the text is none. */
export function parseDuration(value: unknown): number | undefined {
  const [, count, unit] = (typeof value === 'string' && /^(\d{1,10})([smhdw])$/.exec(value)) || []
  return count === undefined || unit === undefined
    ? undefined
    : Number(count) * SECONDS_PER_UNIT[unit as keyof typeof SECONDS_PER_UNIT]
}

function byteSizeOf(value: unknown, minimum: number): number | undefined {
  const bytes = typeof value === 'string' ? parseByteSize(value) : value
  return isWhole(bytes) && bytes >= minimum ? bytes : undefined
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value)
}

function converted<Out>(expected: string, convert: (value: unknown) => Out | undefined): z.ZodType<Out> {
  return z.unknown().transform((value, context): Out => {
    const result = convert(value)
    if (result !== undefined) return result
    context.addIssue({ code: 'custom', message: `expected ${expected}` })
    return z.NEVER
  })
}

const HOST = '[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?'
const HOST_AND_PORT = new RegExp(`^(?:${HOST}|\\[([0-9A-Fa-f:.]+)\\])(?::(\\d{1,5}))?$`)

/** `name`, `address` or `[IPv6]`, with a port or without. */
export function isHostAndPort(value: string): boolean {
  const match = HOST_AND_PORT.exec(value)
  if (match === null) return false
  const [, ipv6, port] = match
  return (ipv6 === undefined || isIPv6(ipv6)) && (port === undefined || isPort(Number(port)))
}

/** What a server can listen on: a name or an address, without a port or brackets. */
export function isListenHost(value: string): boolean {
  return isIP(value) !== 0 || new RegExp(`^${HOST}$`).test(value)
}

function isPort(port: number): boolean {
  return port >= 1 && port <= 65_535
}

/** An address, or a block of them: `10.0.0.0/8`, `fd00::/8`. */
export function isAddressBlock(value: string): boolean {
  const [, address, bits] = /^([0-9A-Fa-f:.]+)(?:\/(\d{1,3}))?$/.exec(value) ?? []
  if (address === undefined || isIP(address) === 0) return false
  return bits === undefined || Number(bits) <= (isIPv4(address) ? 32 : 128)
}

export function isAllowedHost(value: string): boolean {
  return isAddressBlock(value) || isHostAndPort(value)
}

export function isPostgresUri(value: string): boolean {
  return /^postgres(?:ql)?:\/\//.test(value) && URL.canParse(value)
}

export function isProxyUri(value: string): boolean {
  const url = URL.parse(value)
  return url !== null && (url.protocol === 'http:' || url.protocol === 'https:') && url.hostname !== ''
}

const noProxy = list(text('a host, a domain such as .example.com, or *'), 'hosts').default([])

/** `{ uri, no_proxy }`. */
export const egressProxy = z.strictObject(
  { uri: text('http://HOST:PORT or https://HOST:PORT', isProxyUri), no_proxy: noProxy },
  { error: 'expected the keys uri and, if wanted, no_proxy' },
)

function isUpstreamHost(value: string): boolean {
  const parsed = parseUpstreamName(value)
  return !isNotAnUpstreamName(parsed) && parsed.namespace === undefined
}

const credentialShape =
  'expected the keys registry, username and either password_file or password_command, and perhaps insecure and organization_ca'

/** One operator-given credential: the password is in a file or is printed by a command. */
const upstreamCredential = z
  .strictObject(
    {
      registry: text('the upstream host that the password is for, host[:port]', isUpstreamHost),
      username: text('a user name'),
      password_file: text('the path of a file').optional(),
      password_command: list(text('a program or an argument'), 'a program and its arguments').optional(),
      insecure: flag.default(false),
      organization_ca: flag.default(false),
    },
    { error: credentialShape },
  )
  .refine((value) => (value.password_file === undefined) !== (value.password_command === undefined), {
    error: credentialShape,
  })
  .refine((value) => value.password_command === undefined || value.password_command.length > 0, {
    error: 'expected a program in password_command',
  })

export const upstreamCredentials = z.record(
  text('the name of an organization', isOrganizationName),
  upstreamCredential,
  {
    error: 'expected organizations with their credentials: ORGANIZATION: {registry: …, username: …, password_file: …}',
  },
)

const STORAGE =
  'expected one entry such as default: [LocalStorage, {storage_path: /data/blobs}]; other kinds of storage are not supported yet'

/** Quay's map of storage engines, of which one local one is understood; resolves to its path. */
export const storagePath: z.ZodType<string> = converted(STORAGE.replace('expected ', ''), (value) => {
  const entries = typeof value === 'object' && value !== null ? Object.values(value) : []
  const [kind, options] = entries.length === 1 && Array.isArray(entries[0]) ? entries[0] : []
  const path = kind === 'LocalStorage' ? (options as { storage_path?: unknown } | undefined)?.storage_path : undefined
  return typeof path === 'string' && path !== '' && path.length <= textCharactersMax ? path : undefined
})
