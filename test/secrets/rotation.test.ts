import assert from 'node:assert/strict'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { sql } from 'kysely'
import { WrongKeyError } from '../../src/admin/installation-key.ts'
import { finishRotation, isRotating } from '../../src/admin/secret-rotation.ts'
import { readSecretBox, SecretBoxError, stretchSecretKey } from '../../src/base/secret-box.ts'
import { openDatabase } from '../../src/foundations.ts'
import type { Db } from '../../src/metadata/open.ts'
import { countSealed, SEALED_PLACES } from '../../src/metadata/sealed-columns.ts'
import { type RotationRequest, rotateSecrets } from '../../src/rotate-secrets.ts'
import { skipWithoutPostgres, startPostgres } from '../real/postgres.ts'
import { addSecrets, type Installation, makeInstallation, placeOf, readPlace } from './installation.ts'

class Crash extends Error {}

const noKey = () => assert.fail('a key was asked for')
const quietly: RotationRequest = { to: undefined, readNewKey: noKey, onProgress: () => undefined }

const fill = (installation: Installation, count: number) =>
  installation.withServer(async (box, db) => (await addSecrets(box, db, count)).sort())

/** What no value of any column may begin with any more. */
async function assertNothingUnder(db: Db, keyId: string): Promise<void> {
  for (const place of SEALED_PLACES) {
    for (const { sealed } of await readPlace(db, place)) assert.ok(!sealed.startsWith(`${keyId}.`), place.table)
  }
}

test('after a rotation the new secret.key opens everything and the old one nothing', async (t) => {
  const installation = await makeInstallation(t)
  const secrets = await fill(installation, 3)
  const keyFile = join(installation.folder, 'secret.key')
  const before = await readSecretBox(keyFile)
  const seen: number[] = []
  const end = await rotateSecrets(installation.config, { ...quietly, onProgress: (step) => void seen.push(step.seen) })
  assert.deepEqual([end.resealed, end.unopened, end.wasUnderWay, end.to], [secrets.length, [], false, 'file'])
  assert.equal(seen.at(-1), secrets.length)
  assert.deepEqual(
    (await readdir(installation.folder)).filter((name) => name.startsWith('secret')),
    ['secret.key'],
  )
  assert.equal((await stat(keyFile)).mode & 0o777, 0o600)
  await installation.withServer(async (box, db) => {
    assert.notEqual(box.fingerprint, before?.fingerprint)
    assert.deepEqual(await installation.readAll(box, db), secrets)
    for (const place of SEALED_PLACES) {
      for (const { sealed, context } of await readPlace(db, place)) {
        assert.throws(() => before?.open(sealed, context), SecretBoxError)
      }
    }
    assert.equal(await countSealed(db, placeOf('instance', 'value')), 0, 'who had the key could sign registry tokens')
    assert.equal(await isRotating(db), false)
  })
})

test('what the old key sealed is not left in the file of the database either', async (t) => {
  const installation = await makeInstallation(t)
  await fill(installation, 20)
  const before = await readSecretBox(join(installation.folder, 'secret.key'))
  const readDatabase = async () => (await readFile(join(installation.folder, 'entrepot.db'))).toString('latin1')
  assert.ok((await readDatabase()).includes(`${before?.keyId}.`))
  await rotateSecrets(installation.config, quietly)
  assert.ok(!(await readDatabase()).includes(`${before?.keyId}.`))
  assert.ok(!(await readdir(installation.folder)).includes('entrepot.db-wal'))
})

test('wherever a rotation ends, a server starts with what lies there and opens all, and it can go on', async (t) => {
  const stages = ['next_key_made', 'former_key_kept', 'begun', 'next_key_installed', 'finished'] as const
  const crashes: ((count: { steps: number }) => Partial<RotationRequest>)[] = [
    ...stages.map((stage) => () => ({
      onStage: (reached: string) => {
        if (reached === stage) throw new Crash()
      },
    })),
    ...[0, 1, 2, 7, 12].map((last) => (count: { steps: number }) => ({
      onProgress: () => {
        if (count.steps++ === last) throw new Crash()
      },
    })),
  ]
  for (const [index, crash] of crashes.entries()) {
    const installation = await makeInstallation(t)
    const secrets = await fill(installation, 101)
    const ended = rotateSecrets(installation.config, { ...quietly, ...crash({ steps: 0 }) })
    await assert.rejects(ended, Crash, `crash ${index}`)
    const added = await installation.withServer(async (box, db) => {
      assert.deepEqual(await installation.readAll(box, db), secrets, `crash ${index}`)
      const more = await addSecrets(box, db, 1)
      assert.deepEqual(await installation.readAll(box, db), [...secrets, ...more].sort())
      return more
    })
    const end = await rotateSecrets(installation.config, quietly)
    assert.deepEqual(end.unopened, [])
    await installation.withServer(async (box, db) => {
      assert.deepEqual(await installation.readAll(box, db), [...secrets, ...added].sort(), `crash ${index}`)
      assert.equal(await isRotating(db), false)
    })
    assert.deepEqual(
      (await readdir(installation.folder)).filter((name) => name.startsWith('secret')),
      ['secret.key'],
    )
  }
})

test('a value that is set during a rotation is not overwritten, and rows that are added are readable', async (t) => {
  const installation = await makeInstallation(t)
  await fill(installation, 120)
  const stop = { ...quietly, onStage: (stage: string) => assert.notEqual(stage, 'next_key_installed') }
  await assert.rejects(rotateSecrets(installation.config, stop))
  await installation.withServer(async (box, db) => {
    const metadata = { db, dialect: 'sqlite', transaction: undefined as never, close: async () => undefined } as const
    const place = placeOf('proxy_cache', 'password_encrypted')
    const [first] = await readPlace(db, place)
    assert.ok(first)
    let isChanged = false
    const transaction = async <Result>(work: (tx: Db) => Promise<Result>) => db.transaction().execute(work)
    const onStep = async () => {
      if (isChanged) return
      isChanged = true
      const sealed = box.seal('set meanwhile', first.context)
      const id = Number(first.id)
      await db
        .updateTable('proxy_cache')
        .set({ password_encrypted: sealed })
        .where('organization_id', '=', id)
        .execute()
      await addSecrets(box, db, 2)
    }
    const end = await finishRotation({ ...metadata, transaction }, box, onStep)
    assert.deepEqual(end.unopened, [])
    const opened = await installation.readAll(box, db)
    assert.equal(opened.length, 122 * 6)
    assert.ok(opened.includes('set meanwhile'))
  })
})

test('DATABASE_SECRET_KEY is rotated: the old one refuses to start at once, and says what to do', async (t) => {
  const installation = await makeInstallation(t, { ENTREPOT_DATABASE_SECRET_KEY: 'old key' })
  const secrets = await fill(installation, 2)
  const wrong = await makeInstallationAt(installation, 'neither')
  await assert.rejects(rotateSecrets(wrong.config, { ...quietly, readNewKey: async () => 'new key' }), WrongKeyError)
  const request = { ...quietly, readNewKey: async () => 'new key' }
  const stop = {
    ...request,
    onProgress: () => {
      throw new Crash()
    },
  }
  await assert.rejects(rotateSecrets(installation.config, stop), Crash)
  await assert.rejects(
    installation.withServer(async () => undefined),
    /set DATABASE_SECRET_KEY to the new one/,
  )
  const later = await makeInstallationAt(installation, 'new key')
  await later.withServer(async (box, db) => assert.deepEqual(await later.readAll(box, db), secrets))
  const other = { ...quietly, readNewKey: async () => 'another new key' }
  await assert.rejects(rotateSecrets(installation.config, other), WrongKeyError, 'only the key that was begun with')
  const end = await rotateSecrets(installation.config, request)
  assert.deepEqual([end.wasUnderWay, end.resealed, end.to], [true, secrets.length, 'text'])
  await later.withServer(async (box, db) => {
    assert.deepEqual(await later.readAll(box, db), secrets)
    await assertNothingUnder(db, stretchSecretKey('old key').keyId)
  })
  await assert.rejects(
    installation.withServer(async () => undefined),
    /written under another key/,
  )
})

async function makeInstallationAt(installation: Installation, key: string): Promise<Installation> {
  const { Installation: Made } = await import('./installation.ts')
  return new Made(installation.folder, { ENTREPOT_DATABASE_SECRET_KEY: key })
}

test('it is the same on PostgreSQL, after a crash in the middle', { skip: skipWithoutPostgres() }, async (t) => {
  const postgres = await startPostgres()
  const installation = await makeInstallation(t, { ENTREPOT_DB_URI: await postgres.createDatabase() })
  t.after(() => postgres.stop())
  const secrets = await fill(installation, 101)
  let steps = 0
  const crash = {
    ...quietly,
    onProgress: () => {
      if (steps++ === 3) throw new Crash()
    },
  }
  await assert.rejects(rotateSecrets(installation.config, crash), Crash)
  const added = await installation.withServer(async (box, db) => {
    assert.deepEqual(await installation.readAll(box, db), secrets)
    return addSecrets(box, db, 1)
  })
  const end = await rotateSecrets(installation.config, quietly)
  assert.deepEqual([end.unopened, end.wasUnderWay], [[], true])
  await installation.withServer(async (box, db) => {
    assert.deepEqual(await installation.readAll(box, db), [...secrets, ...added].sort())
    for (const place of SEALED_PLACES) {
      for (const { sealed } of await readPlace(db, place)) assert.ok(sealed.startsWith(`${box.keyId}.`), place.table)
    }
  })
})

test('the key is moved from the file to DATABASE_SECRET_KEY, and back', async (t) => {
  const installation = await makeInstallation(t)
  const secrets = await fill(installation, 2)
  await rotateSecrets(installation.config, { ...quietly, to: 'text', readNewKey: async () => 'text' })
  await assert.rejects(
    installation.withServer(async () => undefined),
    WrongKeyError,
  )
  const withText = await makeInstallationAt(installation, 'text')
  await withText.withServer(async (box, db) => assert.deepEqual(await withText.readAll(box, db), secrets))
  await rotateSecrets(withText.config, { ...quietly, to: 'file' })
  await assert.rejects(
    withText.withServer(async () => undefined),
    WrongKeyError,
  )
  await installation.withServer(async (box, db) => assert.deepEqual(await installation.readAll(box, db), secrets))
})

test('the same key again changes nothing; rotating twice leaves only the last', async (t) => {
  const installation = await makeInstallation(t, { ENTREPOT_DATABASE_SECRET_KEY: 'one' })
  const secrets = await fill(installation, 1)
  const same = { ...quietly, readNewKey: async () => 'one' }
  await assert.rejects(rotateSecrets(installation.config, same), /this is the key already/)
  await rotateSecrets(installation.config, { ...quietly, readNewKey: async () => 'two' })
  const second = await makeInstallationAt(installation, 'two')
  const end = await rotateSecrets(second.config, { ...quietly, readNewKey: async () => 'three' })
  assert.equal(end.resealed, secrets.length)
  const third = await makeInstallationAt(installation, 'three')
  await third.withServer(async (box, db) => {
    assert.deepEqual(await third.readAll(box, db), secrets)
    await assertNothingUnder(db, stretchSecretKey('one').keyId)
    await assertNothingUnder(db, stretchSecretKey('two').keyId)
  })
})

test('a value that no key opens is named by table and row, without its content, and keeps nothing else', async (t) => {
  const installation = await makeInstallation(t)
  await fill(installation, 3)
  const swapped = await installation.withServer(async (_box, db) => {
    const [one, two] = await readPlace(db, placeOf('account', 'token_encrypted'))
    assert.ok(one && two)
    await db.updateTable('account').set({ token_encrypted: two.sealed }).where('id', '=', Number(one.id)).execute()
    await db.updateTable('account').set({ token_encrypted: one.sealed }).where('id', '=', Number(two.id)).execute()
    await sql`update app_token set token_encrypted = 'no sealed value' where id = 1`.execute(db)
    return [Number(one.id), Number(two.id)]
  })
  const end = await rotateSecrets(installation.config, quietly)
  assert.deepEqual(end.unopened, [
    ...swapped.map((id) => ({ table: 'account', column: 'token_encrypted', id })),
    { table: 'app_token', column: 'token_encrypted', id: 1 },
  ])
  assert.equal(end.unopenedCount, 3)
  await installation.withServer(async (_box, db) => assert.equal(await isRotating(db), false))
})

test('nothing is rotated while a server serves the data folder', async (t) => {
  const installation = await makeInstallation(t)
  await fill(installation, 1)
  const { spawn } = await import('node:child_process')
  const holder = spawn(process.execPath, [new URL('./hold-lease.ts', import.meta.url).pathname, installation.folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.after(async () => {
    holder.stdin.end()
    await new Promise((resolve) => holder.once('exit', resolve))
  })
  await new Promise((resolve) => holder.stdout.once('data', resolve))
  await assert.rejects(rotateSecrets(installation.config, quietly), /another entrepot serves this data folder/)
})

test('a value that was moved to another row or column is not opened', async (t) => {
  const installation = await makeInstallation(t)
  await fill(installation, 2)
  await installation.withServer(async (box, db) => {
    const all = []
    for (const place of SEALED_PLACES) all.push(...(await readPlace(db, place)))
    assert.ok(all.length > 10)
    for (const { context, sealed } of all) {
      for (const other of all) {
        if (other.context === context) continue
        assert.throws(() => box.open(sealed, other.context), SecretBoxError)
      }
    }
  })
})

test('every column whose name says that it is sealed is declared, and the other way', async (t) => {
  const installation = await makeInstallation(t)
  const { metadata, lease } = await openDatabase(installation.config, () => undefined, 0)
  const tables = await metadata.db.introspection.getTables()
  await lease.release()
  await metadata.close()
  const named = tables.flatMap((table) =>
    table.columns.filter(({ name }) => name.endsWith('_encrypted')).map(({ name }) => `${table.name}.${name}`),
  )
  const declared = SEALED_PLACES.filter(({ table }) => table !== 'instance').map(
    ({ table, column }) => `${table}.${column}`,
  )
  assert.deepEqual(declared.sort(), named.sort())
})
