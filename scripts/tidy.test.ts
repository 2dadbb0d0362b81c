import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type TestContext, test } from 'node:test'

const script = path.join(import.meta.dirname, 'tidy.ts')

/** Run the script on a tree of these files; resolves to what it said, without paths of this machine. */
async function tidy(t: TestContext, files: Record<string, string>, ...flags: string[]) {
  const root = await mkdtemp(path.join(tmpdir(), 'tidy-'))
  t.after(() => rm(root, { recursive: true }))
  const config = '{"compilerOptions":{"module":"nodenext","noEmit":true,"allowImportingTsExtensions":true}}'
  for (const [file, text] of Object.entries({ 'tsconfig.json': config, ...files })) {
    await mkdir(path.join(root, path.dirname(file)), { recursive: true })
    await writeFile(path.join(root, file), text)
  }
  const { stdout, stderr, status } = spawnSync(process.execPath, [script, '--root', root, ...flags], {
    encoding: 'utf8',
  })
  // The compiler's server says so now and then when it is closed.
  assert.equal(stderr.replace(/^context canceled\n/, ''), '')
  return { lines: stdout.trimEnd().split('\n').slice(0, -1), status }
}

test('a tidy tree passes', async (t) => {
  const { lines, status } = await tidy(t, {
    'src/base/size.ts': 'export const size = 1\n',
    'src/oci/thing.ts': "import { size } from '../base/size.ts'\nexport const thing = size\n",
    'src/app.ts': "import { thing } from './oci/thing.ts'\nexport const app = thing\n",
  })
  assert.deepEqual({ lines, status }, { lines: [], status: 0 })
})

test('imports against the direction are refused, types and late imports too', async (t) => {
  const { lines, status } = await tidy(t, {
    'src/upstream/client.ts': 'export class Client {}\n',
    'src/blobs/blob-store.ts': 'export type BlobStore = object\n',
    'src/blobs/files.ts': 'export type Files = object\n',
    'src/registry/cache.ts': [
      "import type { Client } from '../upstream/client.ts'",
      "import type { BlobStore } from '../blobs/blob-store.ts'",
      "import type { Files } from '../blobs/files.ts'",
      "export type Cache = [Client, BlobStore, Files, typeof import('../blobs/files.ts')]",
      "export const later = () => import('../app.ts')",
      '',
    ].join('\n'),
    'src/app.ts': 'export const app = 1\n',
  })
  assert.equal(status, 1)
  assert.deepEqual(
    lines.filter((line) => line.includes('must not import')).map((line) => line.split(';')[0]),
    [
      'src/registry/cache.ts:1: registry must not import upstream/client',
      'src/registry/cache.ts:3: registry must not import blobs/files',
      'src/registry/cache.ts:4: registry must not import blobs/files',
      'src/registry/cache.ts:5: registry must not import app',
    ],
  )
})

test('a part that nobody gave a place is refused', async (t) => {
  const { lines } = await tidy(t, { 'src/anything/new.ts': 'export const one = 1\n' })
  assert.deepEqual(lines, [
    'src/anything/new.ts:1: src/anything is no part that scripts/tidy-rules.ts knows: say there what it may import',
  ])
})

test('import cycles are shown whole', async (t) => {
  const { lines } = await tidy(t, {
    'src/base/a.ts': "import { b } from './b.ts'\nexport const a = () => b\n",
    'src/base/b.ts': "import { c } from './c.ts'\nexport const b = () => c\n",
    'src/base/c.ts': "import { a } from './a.ts'\nexport const c = () => a\n",
  })
  assert.deepEqual(lines, [
    'src/base/c.ts:1: import cycle: src/base/a.ts -> src/base/b.ts -> src/base/c.ts -> src/base/a.ts',
  ])
})

test('a class of another part is made in app.ts only; errors and vocabulary anywhere', async (t) => {
  const { lines } = await tidy(t, {
    'src/metadata/rows.ts': 'export class Rows {}\nexport class RowsError extends Error {}\n',
    'src/base/flight.ts': 'export class Flight {}\n',
    'src/registry/cache.ts': [
      "import { Rows, RowsError } from '../metadata/rows.ts'",
      "import { Flight } from '../base/flight.ts'",
      'export const made = [new Rows(), new RowsError(), new Flight()]',
      '',
    ].join('\n'),
    'src/app.ts': "import { Rows } from './metadata/rows.ts'\nexport const rows = new Rows()\n",
  })
  assert.deepEqual(
    lines.filter((line) => !line.startsWith('warning')),
    ['src/registry/cache.ts:3: new Rows of metadata: only src/app.ts makes it; take an interface instead'],
  )
})

test('calls outside their home name the replacement', async (t) => {
  const calls = [
    'export const count = parseInt("1", 10)',
    'setTimeout(() => {}, 1)',
    'console.log(1)',
    'export const now = [Date.now(), new Date(), new Date(5)]',
    'export const port = process.env["PORT"]',
    'export const own = { parseInt: (text: string) => text }.parseInt("1")',
    '',
  ].join('\n')
  const { lines } = await tidy(t, { 'src/http/calls.ts': calls, 'src/http/calls.test.ts': calls })
  assert.deepEqual(lines, [
    'src/http/calls.ts:1: parseInt is not used here: Number(), and check what comes out',
    'src/http/calls.ts:2: setTimeout is not used here: afterMs or delayMs of src/base/timers.ts',
    'src/http/calls.ts:3: console is not used here: the logger',
    'src/http/calls.ts:4: Date.now is not used here: the Clock that the caller hands in',
    'src/http/calls.ts:4: new Date() is not used here: the Clock that the caller hands in',
    'src/http/calls.ts:5: process.env is not used here: a setting of src/config/schema.ts',
  ])
})

test('sizes, names and unfinished work are reported', async (t) => {
  const body = '  x += 1\n'.repeat(70)
  const { lines } = await tidy(t, {
    'src/base/long.ts': `const x = 1\n${'export {}\n'.repeat(400)}`,
    'src/base/wide.ts': `export const wide = [${'1, '.repeat(60)}1]\nexport const text = '${'long '.repeat(30)}'\n`,
    'src/base/tall.ts': `let x = 0\nexport const tall = () => {\n${body}}\n`,
    'src/base/name-utils.ts': 'export type UserManager = object\nexport const service = 1\n',
    'src/base/open.ts': `// ${'TO'}${'DO'}: more\nexport * from './wide.ts'\n`,
  })
  assert.deepEqual(lines, [
    'src/base/long.ts:400: 401 lines; at most 400: one noun a file',
    `src/base/open.ts:1: ${'TO'}${'DO'}: finish it, or open an issue`,
    'src/base/tall.ts:2: tall has 72 lines; at most 70',
    'src/base/wide.ts:1: 203 characters; at most 120',
    'src/base/name-utils.ts:1: "name-utils": not "utils"; say what it does',
    'src/base/name-utils.ts:1: "UserManager": not "manager"; say what it does',
    'src/base/open.ts:2: no re-exports: import from the file that declares it',
  ])
})

test('a module without a test beside it is a warning, and an error when tests are required', async (t) => {
  const files = { 'src/oci/thing.ts': 'export function thing() {}\n' }
  const message = 'src/oci/thing.ts:1: exports code, but thing.test.ts is not beside it'
  const lenient = await tidy(t, files)
  assert.deepEqual(lenient, { lines: [`warning ${message}`], status: 0 })
  const strict = await tidy(t, files, '--require-tests')
  assert.deepEqual(strict, { lines: [message], status: 1 })
})
