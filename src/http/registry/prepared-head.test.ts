import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import type { HotManifest } from '../../registry/directory.ts'
import { type PreparedHead, writeHead } from './prepared-head.ts'

const body = '{}'
const NOW = Date.parse('2026-01-01T00:00:00Z')

function hot(confirmedAtMs: number, headers = ['Content-Type', 'text/x', 'Content-Length', '2']): HotManifest {
  const provenance = { outcome: 'hit' as const, confirmedAtMs, staleReason: undefined, upstreamMs: 0 }
  return { sizeBytes: 2, latin1: body, headers, provenance, touch: () => {} }
}

/** Serves one manifest as the hot path does; `heads` are what each answer left for the next. */
async function serve(t: TestContext) {
  const state = { nowMs: NOW, manifest: hot(NOW - 5000), cacheControl: 'private' }
  const heads: (PreparedHead | undefined)[] = []
  const server = createServer({ optimizeEmptyRequests: true, keepAliveTimeout: 65_000 }, (request, response) => {
    heads.push(writeHead(response, state.manifest, state.cacheControl, state.nowMs, heads.at(-1)))
    if (request.method === 'HEAD') response.end()
    else response.end(state.manifest.latin1, 'latin1')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const ask = (requests: string) => {
    const socket = connect(port, '127.0.0.1')
    socket.write(requests)
    return text(socket)
  }
  return { state, heads, ask }
}

const GET = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n'
const LAST = 'GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n'

test('requests without waiting get the same head again, each with its body, the last one told to close', async (t) => {
  const { heads, ask } = await serve(t)
  const answers = (await ask(GET + GET + GET + LAST)).split(/(?=HTTP\/1\.1 )/)
  assert.equal(answers.length, 4)
  for (const answer of answers) assert.ok(answer.endsWith(`\r\n\r\n${body}`))
  assert.match(
    answers[0] ?? '',
    /\r\nAge: 5\r\n.*\r\nDate: .*\r\nConnection: keep-alive\r\nKeep-Alive: timeout=65\r\n/s,
  )
  assert.equal(answers[1], answers[0])
  assert.equal(answers[2], answers[0])
  assert.match(answers[3] ?? '', /\r\nConnection: close\r\n/)
  assert.ok(heads[1] !== undefined && heads[2] === heads[1], 'the head was not prepared')
})

test('HEAD has the same head and no body', async (t) => {
  const { ask } = await serve(t)
  const answers = (await ask(GET + GET.replace('GET', 'HEAD') + LAST)).split(/(?=HTTP\/1\.1 )/)
  assert.equal(`${answers[1]}${body}`, answers[0])
})

test('HTTP/1.0 is answered and closed, prepared or not', async (t) => {
  const { ask } = await serve(t)
  await ask(GET + LAST)
  const answer = await ask('GET / HTTP/1.0\r\n\r\n')
  assert.match(answer, /\r\nConnection: close\r\n/)
  assert.ok(answer.endsWith(`\r\n\r\n${body}`))
})

test('another second, manifest, outcome or caller is another head', async (t) => {
  const { state, ask } = await serve(t)
  const first = await ask(GET + LAST)
  state.nowMs += 1000
  assert.match(await ask(GET + LAST), /^.*Age: 6.*Age: 6/s)
  state.manifest = { ...state.manifest, headers: ['Content-Type', 'text/y', 'Content-Length', '2'] }
  assert.match(await ask(GET + LAST), /^.*text\/y.*text\/y/s)
  state.manifest.provenance = { ...state.manifest.provenance, outcome: 'stale', staleReason: 'down' }
  assert.match(await ask(GET + LAST), /^.*stale: down.*stale: down/s)
  state.cacheControl = 'no-cache'
  assert.match(await ask(GET + LAST), /^.*no-cache.*no-cache/s)
  assert.match(first, /^.*private.*private/s)
})
