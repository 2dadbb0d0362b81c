import assert from 'node:assert/strict'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { get } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { generate } from 'selfsigned'
import { readCertificate, watchCertificate } from './certificate-files.ts'
import { makeClientOrigin } from './client-origin.ts'
import { startServer } from './server.ts'

type Pair = { cert: string; key: string }

async function makePair(commonName: string): Promise<Pair> {
  const pems = await generate([{ name: 'commonName', value: commonName }], { keyType: 'ec', curve: 'P-256' })
  return { cert: pems.cert, key: pems.private }
}

async function makeFiles(t: TestContext, pair: Pair) {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-tls-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const files = { certificateFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') }
  const write = async ({ cert, key }: Pair) => {
    for (const [file, text] of [
      [files.certificateFile, cert],
      [files.keyFile, key],
    ] as const) {
      await writeFile(`${file}.new`, text)
      await rename(`${file}.new`, file)
    }
  }
  await write(pair)
  return { files, write }
}

test('files that are absent, no PEM, or not of one pair are refused by name', async (t) => {
  const [first, second] = await Promise.all([makePair('first'), makePair('second')])
  const { files, write } = await makeFiles(t, first)
  assert.deepEqual(await readCertificate(files), first)
  for (const broken of [
    { ...first, key: second.key },
    { ...first, cert: 'nonsense' },
    { cert: '', key: '' },
  ]) {
    await write(broken)
    await assert.rejects(readCertificate(files), /tls\.crt/)
  }
  await rm(files.keyFile)
  await assert.rejects(readCertificate(files), /ENOENT/)
})

test('a change of the files is seen without being asked for', async (t) => {
  const [first, second] = await Promise.all([makePair('first'), makePair('second')])
  const { files, write } = await makeFiles(t, first)
  const { promise, resolve } = Promise.withResolvers<Pair>()
  const watch = watchCertificate(files, first, resolve, () => {})
  t.after(() => watch.close())
  await write(second)
  assert.deepEqual(await promise, second)
})

/** The common name of the certificate that a new connection is shown. */
function shownBy(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { rejectUnauthorized: false, agent: false }, (message) => {
      const name = (message.socket as TLSSocket).getPeerCertificate().subject.CN
      message.resume().once('end', () => resolve(String(name)))
    }).once('error', reject)
  })
}

test('new connections are shown the new certificate; a broken one leaves the old in place and is reported', async (t) => {
  const [first, second] = await Promise.all([makePair('first'), makePair('second')])
  const { files, write } = await makeFiles(t, first)
  const events: string[] = []
  const answer = (_request: unknown, response: { end(text: string): void }) => response.end('x')
  const server = await startServer({
    host: '127.0.0.1',
    port: 0,
    tls: files,
    registryHandler: answer,
    apiHandler: answer,
    origin: makeClientOrigin([]),
    observe: () => {},
    report: (event) => void events.push(event),
  })
  t.after(() => server.close(0))
  assert.match(server.url, /^https:/)
  assert.equal(await shownBy(server.url), 'first')
  await write({ ...second, key: 'nonsense' })
  await server.reloadCertificate()
  assert.equal(await shownBy(server.url), 'first')
  assert.equal(events[0], 'certificate_unusable')
  await write(second)
  await server.reloadCertificate()
  assert.equal(await shownBy(server.url), 'second')
  assert.ok(events.includes('certificate_reloaded'))
})

test('a server does not start with a certificate that it cannot use', async (t) => {
  const { files, write } = await makeFiles(t, await makePair('first'))
  await write({ cert: 'x', key: 'y' })
  const nothing = () => {}
  const options = { host: '127.0.0.1', port: 0, tls: files, registryHandler: nothing, apiHandler: nothing }
  const rest = { origin: makeClientOrigin([]), observe: nothing, report: nothing }
  await assert.rejects(startServer({ ...options, ...rest }), /cannot use .*tls\.crt/)
})
