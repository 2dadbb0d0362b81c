import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runProgram } from './program.ts'
import type { RotateSecrets } from './secrets-command.ts'

type Options = { env?: Record<string, string>; secrets?: string[]; isWatched?: boolean }

async function rotate(
  args: readonly string[],
  options: Options,
  unopened: Awaited<ReturnType<RotateSecrets>>['unopened'],
) {
  const ran = { out: '', err: '', key: '', to: '' }
  const secrets = [...(options.secrets ?? [])]
  const code = await runProgram(['secrets', 'rotate', ...args], {
    version: '0',
    serve: () => assert.fail(),
    rotateSecrets: async ({ to, readNewKey, onProgress }) => {
      ran.to = to ?? 'as configured'
      ran.key = await readNewKey()
      onProgress({ seen: 1, total: 2, resealed: 1, unopenedCount: 0, unopened: [] })
      const counts = { seen: 2, total: 2, resealed: 2, unopenedCount: unopened.length }
      return { ...counts, unopened, wasUnderWay: false, to: to ?? 'text' }
    },
    terminal: {
      env: options.env ?? {},
      writeOut: (text) => {
        ran.out += text
      },
      writeError: (text) => {
        ran.err += text
      },
      readSecret: async () => secrets.shift(),
      isWatched: options.isWatched ?? false,
      readAnswer: async () => undefined,
      onInterrupt: () => () => undefined,
      close: () => undefined,
    },
  })
  return { code, ...ran }
}

test('the new key comes from the environment, or is typed the same twice, and is never printed', async () => {
  const given = await rotate([], { env: { ENTREPOT_NEW_SECRET_KEY: 'new-key' } }, [])
  assert.deepEqual([given.code, given.key, given.to], [0, 'new-key', 'as configured'])
  assert.match(given.err, /1 of 2 secrets/)
  assert.match(given.out, /Sealed 2 secrets.*set DATABASE_SECRET_KEY to the new key/s)
  const typed = await rotate(['--to', 'text'], { secrets: ['typed-key', 'typed-key'], isWatched: true }, [])
  assert.deepEqual([typed.code, typed.key], [0, 'typed-key'])
  assert.equal((await rotate([], { secrets: ['piped-key'] }, [])).key, 'piped-key')
  for (const ran of [given, typed]) assert.doesNotMatch(ran.out + ran.err, /new-key|typed-key/)
})

test('a slip of the hand, and no key at all, change nothing', async () => {
  assert.equal((await rotate([], { secrets: ['one', 'two'] }, [])).code, 2)
  assert.equal((await rotate([], { secrets: ['one'], isWatched: true }, [])).code, 2)
  assert.equal((await rotate([], {}, [])).code, 2)
  assert.equal((await rotate(['--to', 'elsewhere'], {}, [])).code, 2)
})

test('what no key opens is named, and said by the exit code', async () => {
  const env = { ENTREPOT_NEW_SECRET_KEY: 'new-key' }
  const unopened = [{ table: 'app_token', column: 'token_encrypted', id: 7 }]
  const ran = await rotate([], { env }, unopened)
  assert.equal(ran.code, 4)
  assert.match(ran.out, /app_token 7, token_encrypted/)
  const json = JSON.parse((await rotate(['--json'], { env }, unopened)).out)
  assert.deepEqual([json.resealed, json.unopened, json.key], [2, unopened, 'text'])
})
