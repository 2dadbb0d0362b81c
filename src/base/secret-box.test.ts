import assert from 'node:assert/strict'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openSecretBox, SecretBoxError } from './secret-box.ts'

async function makeFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'secret-box-'))
  t.after(() => rm(folder, { recursive: true }))
  return folder
}

test('what is sealed is opened by the same key for the same context, also after a restart', async (t) => {
  const keyFile = join(await makeFolder(t), 'made', 'secret.key')
  const first = await openSecretBox({ secretKey: undefined, keyFile })
  const sealed = first.seal('pässword', 'proxy_cache/7/password')
  const second = await openSecretBox({ secretKey: undefined, keyFile })
  assert.equal(second.open(sealed, 'proxy_cache/7/password'), 'pässword')
  assert.equal(second.fingerprint, first.fingerprint)
  assert.equal((await stat(keyFile)).mode & 0o777, 0o600)
  assert.ok(sealed.startsWith(`${first.fingerprint.slice(0, 8)}.`))
  assert.equal(first.open(first.seal('', 'x'), 'x'), '')
})

test('the same text is never sealed to the same bytes', async (t) => {
  const box = await openSecretBox({ secretKey: undefined, keyFile: join(await makeFolder(t), 'k') })
  assert.notEqual(box.seal('a', 'x'), box.seal('a', 'x'))
})

test('a secret moved to another row, changed, cut short or made up is not opened', async (t) => {
  const box = await openSecretBox({ secretKey: undefined, keyFile: join(await makeFolder(t), 'k') })
  const sealed = box.seal('password', 'row 1')
  assert.throws(() => box.open(sealed, 'row 2'), SecretBoxError)
  const [keyId = '', encoded = ''] = sealed.split('.')
  for (let index = 0; index < Buffer.from(encoded, 'base64url').length; index++) {
    const bytes = Buffer.from(encoded, 'base64url')
    bytes[index] = (bytes[index] ?? 0) ^ 1
    assert.throws(() => box.open(`${keyId}.${bytes.toString('base64url')}`, 'row 1'), SecretBoxError)
  }
  for (const wrong of ['', '.', keyId, `${keyId}.`, `${keyId}.AAAA`, `${sealed}.x`, sealed.slice(0, -8), 'password']) {
    assert.throws(() => box.open(wrong, 'row 1'), SecretBoxError, wrong)
  }
})

test('another key is named, and what was sealed is not told', async (t) => {
  const keyFile = join(await makeFolder(t), 'unused')
  const box = await openSecretBox({ secretKey: 'one', keyFile })
  const other = await openSecretBox({ secretKey: 'two', keyFile })
  const again = await openSecretBox({ secretKey: 'one', keyFile })
  assert.notEqual(box.fingerprint, other.fingerprint)
  const sealed = box.seal('password', 'x')
  assert.equal(again.open(sealed, 'x'), 'password')
  assert.throws(() => other.open(sealed, 'x'), /DATABASE_SECRET_KEY or secret.key that it was sealed with/)
  await assert.rejects(stat(keyFile), { code: 'ENOENT' }, 'no file is made when a key is given')
})

test('many that start at once make one key, and leave nothing else behind', async (t) => {
  const folder = await makeFolder(t)
  const keyFile = join(folder, 'secret.key')
  const starters = Array.from({ length: 20 }, () => openSecretBox({ secretKey: undefined, keyFile }))
  const fingerprints = new Set((await Promise.all(starters)).map((box) => box.fingerprint))
  assert.equal(fingerprints.size, 1)
  assert.deepEqual(await readdir(folder), ['secret.key'])
})

test('a key file that is damaged or open to everyone is refused, not replaced', async (t) => {
  const keyFile = join(await makeFolder(t), 'secret.key')
  await writeFile(keyFile, 'short\n', { mode: 0o600 })
  await assert.rejects(openSecretBox({ secretKey: undefined, keyFile }), /it holds no key/)
  assert.equal(await readFile(keyFile, 'utf8'), 'short\n')
  await writeFile(keyFile, `${Buffer.alloc(32, 1).toString('base64url')}\n`)
  await chmod(keyFile, 0o644)
  await assert.rejects(openSecretBox({ secretKey: undefined, keyFile }), /chmod 600/)
})
