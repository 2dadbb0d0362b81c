/**
 * Writes docs/configuration.md, docs/errors.md and docs/permissions.md from the tables in the source. With --check it
 * writes nothing and exits 1 when a page does not say what the tables say.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import { stringify } from 'yaml'
import { QUAY_KEYS_WITHOUT_EFFECT_YET } from '../src/config/quay-keys.ts'
import { ENVIRONMENT, SETTINGS, type Setting } from '../src/config/schema.ts'
import { REGISTRY_ERRORS, type RegistryErrorCase } from '../src/errors.ts'
import { generatedFrom, table } from './markdown.ts'
import { permissionsPage } from './permissions-page.ts'

const root = new URL('../', import.meta.url)

/** When each error is answered, and what helps. */
const ERROR_ADVICE: Record<RegistryErrorCase, { when: string; whatToDo: string }> = {
  BLOB_UNKNOWN: {
    when: 'Neither the cache nor the upstream has the blob in this repository.',
    whatToDo: 'Pull the image again by its tag: its manifest may name other blobs by now.',
  },
  DENIED: {
    when:
      'The caller may not pull from the organization; or its rules exclude the repository; or it is frozen and does not ' +
      'hold the content; or the upstream refuses the repository to the organization’s credentials.',
    whatToDo: 'The message says which. Ask an administrator of the organization; check its upstream credentials.',
  },
  DIGEST_INVALID: { when: 'The digest in the URL is none.', whatToDo: 'Write `sha256:` and 64 hex digits.' },
  MANIFEST_UNKNOWN: {
    when: 'Neither the cache nor the upstream has the tag or digest, or it is of a kind that is not cached (schema 1).',
    whatToDo: 'Check the name and tag; the message says what the upstream has, or what the client did not accept.',
  },
  METHOD_NOT_ALLOWED: {
    when: 'A push or delete in an organization that caches an upstream.',
    whatToDo: 'Push to the upstream itself.',
  },
  NAME_INVALID: {
    when: 'The repository name breaks the grammar of the specification, or is too long.',
    whatToDo: 'Use lower-case letters, digits and `.`, `_`, `-` between them.',
  },
  NAME_UNKNOWN: {
    when: 'There is no such organization, no organization mirrors the host in `?ns=`, or the repository is unknown.',
    whatToDo: 'The first part of the name must be an organization: `HOST/ORGANIZATION/REPOSITORY`.',
  },
  PAGE_INVALID: { when: '`n` of a list is no whole number from 0 to 10000.', whatToDo: 'Correct or omit `n`.' },
  QUOTA_EXCEEDED: {
    when: 'The image is larger than the organization’s quota less what is pinned in it.',
    whatToDo:
      'Raise the quota, unpin something, or let the organization pass images that are too large through uncached; ' +
      '`detail` has the bytes needed, available and allowed.',
  },
  RANGE_NOT_SATISFIABLE: {
    when: 'The requested range begins behind the end of the blob.',
    whatToDo: 'Ask for a part inside `Content-Range: bytes */SIZE`.',
  },
  REFERENCE_INVALID: {
    when: 'What stands behind `manifests/` is neither a tag nor a digest.',
    whatToDo: 'A tag has at most 128 letters, digits, `.`, `_`, `-`.',
  },
  REQUEST_INVALID: {
    when: 'The request is malformed.',
    whatToDo: 'Correct the client; the message says what is wrong.',
  },
  REQUEST_TOO_LARGE: { when: 'The URL, a header or the body is too large.', whatToDo: 'Send less.' },
  TOO_MANY_REQUESTS: {
    when: 'The upstream limits the organization’s requests and there is no copy to serve; or too many sign-ins failed.',
    whatToDo: 'Wait for `Retry-After`; give the organization credentials with a higher limit.',
  },
  UNAUTHORIZED: {
    when: 'No credentials, or wrong ones, or a token that has ended.',
    whatToDo: 'Sign in: `podman login HOST`.',
  },
  UNAVAILABLE: {
    when: 'The upstream cannot be reached or does not answer as a registry, and there is no copy to serve.',
    whatToDo: 'See the log or the status of the organization for the cause, and `entrepot upstream test`.',
  },
  UPSTREAM_TIMEOUT: {
    when: 'The upstream did not answer in time, and there is no copy to serve.',
    whatToDo: 'Try again; see the log or the status of the organization.',
  },
  OVERLOADED: { when: 'The server is stopping or has too much to do.', whatToDo: 'Try again in a moment.' },
  UNKNOWN: {
    when: 'A defect, or a failing disk or database.',
    whatToDo: 'The log has the cause under the request’s id.',
  },
}

export function configurationPage(): string {
  const settings: [string, Setting<unknown>][] = Object.entries(SETTINGS)
  return `${generatedFrom('src/config/schema.ts')}
# Configuration

Entrepot works without any configuration. What is set comes from the environment and from one file, \`config.yaml\`,
whose keys are Quay's where Quay has one (marked *Quay*). Every mistake is reported at once, by key, and the server then
refuses to start; \`entrepot config check FILE\` reports them without starting anything.

## The essentials, from the environment

${table(
  ['variable', 'default', 'unit', 'meaning'],
  Object.entries(ENVIRONMENT).map(([name, { fallback, unit, sentence }]) => [
    `\`${name}\``,
    fallback.includes('`') ? fallback : `\`${fallback}\``,
    unit,
    sentence,
  ]),
)}
## Settings of \`config.yaml\`

Each setting can be overridden by the environment variable \`ENTREPOT_<KEY>\`, as in \`ENTREPOT_LOG_LEVEL=debug\`. Text
is taken as it is, lists at their commas, everything else as YAML; an empty variable counts as absent. Relative paths
start at the folder of the file, and in a variable at the working folder. Durations are Quay's: \`30s\`, \`10m\`,
\`12h\`, \`1d\`, \`2w\`, or a number of seconds. Sizes are bytes, or such as \`500 MB\` and \`2 GiB\`.

${table(
  ['key', 'default', 'unit', 'meaning'],
  settings.map(([key, setting]) => [
    `\`${key}\`${setting.origin === 'quay' ? ' *Quay*' : ''}`,
    setting.fallbackText ?? `\`${stringify(setting.fallback, { collectionStyle: 'flow' }).trim()}\``,
    setting.unit,
    `${setting.sentence}${setting.secret ? ' Never printed.' : ''}`,
  ]),
)}
Quay's other keys are accepted with a notice. These will mean something in a later version and have no effect yet:
${[...QUAY_KEYS_WITHOUT_EFFECT_YET].map((key) => `\`${key}\``).join(', ')}.

## An example

\`\`\`yaml
SERVER_HOSTNAME: registry.example.com
TLS_CERTIFICATE_FILE: tls.crt
TLS_KEY_FILE: tls.key
SUPER_USERS: [alice]
SSRF_ALLOWED_HOSTS: [harbor.corp.example, 10.20.0.0/16]
MINIMUM_FREE_BYTES: 20 GiB
UPSTREAM_CREDENTIALS:
  ecr:
    registry: 123456789012.dkr.ecr.eu-west-1.amazonaws.com
    username: AWS
    password_command: [aws, ecr, get-login-password]
\`\`\`
`
}

export function errorsPage(): string {
  return `${generatedFrom('src/errors.ts')}
# Errors of \`/v2\`

Every error has the specification's JSON body: \`{"errors": [{"code", "message", "detail"}]}\`. Messages may say more
than the ones below. podman, Docker and containerd print messages for 4xx answers only, and lose those of 502 and 504:
the log and the organization's status have them.

${table(
  ['status', 'code', 'message', 'when', 'what to do'],
  (Object.keys(REGISTRY_ERRORS) as RegistryErrorCase[])
    .map((errorCase) => ({ ...REGISTRY_ERRORS[errorCase], ...ERROR_ADVICE[errorCase] }))
    .sort((one, other) => one.status - other.status)
    .map(({ status, code, message, when, whatToDo }) => [`${status}`, `\`${code}\``, message, when, whatToDo]),
)}`
}

/** The pages by their path. */
export const PAGES: Readonly<Record<string, () => string>> = {
  'docs/configuration.md': configurationPage,
  'docs/errors.md': errorsPage,
  'docs/permissions.md': permissionsPage,
}

async function main(): Promise<void> {
  const isCheck = process.argv.includes('--check')
  for (const [path, make] of Object.entries(PAGES)) {
    const page = make()
    const current = await readFile(new URL(path, root), 'utf8').catch(() => undefined)
    if (current === page) continue
    if (isCheck) {
      process.stderr.write(`${path} is out of step: run node scripts/generate-docs.ts\n`)
      process.exitCode = 1
    } else {
      await writeFile(new URL(path, root), page)
      process.stdout.write(`wrote ${path}\n`)
    }
  }
}

if (process.argv[1] !== undefined && pathToFileURL(process.argv[1]).href === import.meta.url) await main()
