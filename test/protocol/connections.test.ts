/** Clients that vanish, stall, smuggle, or get a body that breaks off; and how the server ends. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { RegistryClient } from '../pull-through/registry-client.ts'
import { basic, blobBytes, blobDigest, readAll, serveRegistry } from './serve-registry.ts'

const MiB = 1024 * 1024
const path = `/v2/own/app/blobs/${blobDigest}`
const head = (target: string, more = '') =>
  `GET ${target} HTTP/1.1\r\nHost: h\r\nAuthorization: ${basic}\r\n${more}Connection: close\r\n\r\n`

test('a body that fails in the middle breaks the connection: no client takes it for the whole', async (t) => {
  const served = await serveRegistry(t)
  for (const isBlobSized of [true, false]) {
    served.content.isBlobSized = isBlobSized
    served.content.pipe = async (sink, bytes) => {
      await sink.write(bytes.subarray(0, 100_000))
      throw new Error('wrong digest')
    }
    const client = new RegistryClient(() => served.server.url, undefined)
    const answer = await client.send(path, { authorization: basic })
    assert.deepEqual([answer.status, answer.isWhole, answer.body.byteLength], [200, false, 100_000])
  }
  await served.observed(2)
  assert.match(served.records[0]?.error ?? '', /^UNKNOWN/)
  assert.equal(served.reports[0]?.event, 'answer_broken_off')
})

test('a body that ends too early breaks the connection', async (t) => {
  const served = await serveRegistry(t)
  served.content.pipe = async (sink, bytes) => void (await sink.write(bytes.subarray(1)))
  const client = new RegistryClient(() => served.server.url, undefined)
  assert.equal((await client.send(path, { authorization: basic })).isWhole, false)
})

test('a body that fails before its first byte is an error with a status', async (t) => {
  const served = await serveRegistry(t)
  served.content.pipe = () => Promise.reject(new Error('wrong digest'))
  const client = new RegistryClient(() => served.server.url, undefined)
  const answer = await client.send(path, { authorization: basic })
  assert.deepEqual([answer.status, answer.isWhole], [500, true])
  assert.equal(answer.headers['docker-content-digest'], undefined)
})

test('a blob of unknown size comes in chunks, whole', async (t) => {
  const served = await serveRegistry(t)
  served.content.isBlobSized = false
  const client = new RegistryClient(() => served.server.url, undefined)
  const answer = await client.send(path, { authorization: basic })
  assert.equal(answer.headers['content-length'], undefined)
  assert.ok(answer.isWhole && answer.body.equals(blobBytes))
})

test('when the client vanishes the sink says so, and nothing throws', async (t) => {
  const served = await serveRegistry(t)
  const { promise, resolve } = Promise.withResolvers<boolean>()
  served.content.pipe = async (sink, bytes) => {
    let taken = true
    while (taken) taken = await sink.write(bytes)
    resolve(await sink.write(bytes))
  }
  const socket = served.connect()
  socket.write(head(path))
  await once(socket, 'data')
  socket.destroy()
  assert.equal(await promise, false)
  await served.observed(1)
  assert.deepEqual([served.records[0]?.isAborted, served.records[0]?.error], [true, undefined])
})

test('a client that left before there was an answer costs nothing: the blob is closed unread', async (t) => {
  const served = await serveRegistry(t)
  const socket = served.connect()
  const { promise: opened, resolve: open } = Promise.withResolvers<void>()
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
  const { registry } = served.content
  served.content.registry = (organization) => {
    const inner = registry.call(served.content, organization)
    const openBlob: typeof inner.openBlob = async (...parameters) => {
      ask()
      await opened
      return inner.openBlob(...parameters)
    }
    return { ...inner, openBlob }
  }
  socket.write(head(path))
  await asked
  const gone = new Promise<void>((resolve) => {
    socket.once('close', () => setImmediate(() => setImmediate(resolve)))
  })
  socket.destroy()
  await gone
  open()
  await served.observed(1)
  assert.deepEqual([served.content.closed, served.records[0]?.isAborted, served.records[0]?.status], [1, true, 0])
})

test('a client that takes no byte of what is ready is cut; one that waits for us, and longer, is not', async (t) => {
  const served = await serveRegistry(t, { clientIdleMs: 30 })
  const { promise: ready, resolve: goOn } = Promise.withResolvers<void>()
  let hasFirst = false
  let filledBytes = 0
  served.content.pipe = async (sink, bytes) => {
    if (!hasFirst) {
      hasFirst = true
      await ready
      await sink.write(bytes)
      return
    }
    while (await sink.write(bytes)) filledBytes += bytes.byteLength
  }
  const waiting = served.connect()
  const received = readAll(waiting, head(path))
  while (!hasFirst) await new Promise((resolve) => setImmediate(resolve))
  const stalling = served.connect()
  stalling.on('error', () => {})
  stalling.write(head(path)) // Nobody reads from it.
  await served.observed(1)
  assert.equal(served.records[0]?.isAborted, true)
  assert.ok(filledBytes < 100 * MiB, `only the system’s buffers were filled: ${filledBytes}`)
  goOn()
  assert.ok((await received).length > blobBytes.byteLength)
  stalling.destroy()
})

test('what a request holds cannot end a header of the answer', async (t) => {
  const served = await serveRegistry(t)
  for (const raw of [
    head('/v2/own/app/manifests/v1?ns=docker.io%0d%0aEvil:%20yes'),
    head('/v2/?ns=a%22%0d%0aEvil:%20yes').replace(/Authorization.*\r\n/, ''),
    head('/v2/own/a%0d%0aEvil:%20yes/manifests/v1'),
    head('/v2/own/app/tags/list?n=1&last=%0d%0aEvil:%20yes'),
    head('/v2/')
      .replace('Host: h', 'Host: h"\tEvil: yes')
      .replace(/Authorization.*\r\n/, ''),
    head('/v2/')
      .replace('Host: h', 'Host: h/../x?y"z')
      .replace(/Authorization.*\r\n/, ''),
    head('/v2/own/app/blobs/x', 'X-Request-Id: a\tEvil: yes\r\n'),
  ]) {
    const answer = await served.raw(raw)
    const [headers = ''] = answer.split('\r\n\r\n')
    assert.match(headers, /^HTTP\/1\.1 [24]\d\d /, raw)
    assert.ok(!/^evil:/im.test(headers), headers)
    const realm = /realm="([^"]*)"/.exec(headers)?.[1]
    if (realm !== undefined) assert.ok(URL.canParse(realm) && new URL(realm).pathname === '/v2/auth', realm)
  }
})

test('requests that are not HTTP, or not for us, get 4xx', async (t) => {
  const served = await serveRegistry(t)
  for (const raw of [
    'nonsense\r\n\r\n',
    'GET http://elsewhere.example/v2/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n',
    'OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n',
    `GET /v2/ HTTP/1.1\r\nHost: h\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`,
    'GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n',
  ]) {
    assert.match(await served.raw(raw), /^HTTP\/1\.1 4\d\d /, raw.slice(0, 60))
  }
})

test('a push with a large body is told 405, and is not read for ever', async (t) => {
  const served = await serveRegistry(t)
  const socket = served.connect()
  const received = readAll(
    socket,
    `PUT /v2/own/app/manifests/v1 HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000000\r\n\r\n`,
  )
  const block = Buffer.alloc(65_536)
  const pump = () => {
    while (!socket.destroyed && socket.write(block));
  }
  socket.on('drain', pump)
  pump()
  assert.match(await received, /^HTTP\/1\.1 405 /)
})

test('who asks for leave to send a body is told 405 without it', async (t) => {
  const served = await serveRegistry(t)
  const raw = 'PUT /v2/own/app/manifests/v1 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nConnection: close\r\n'
  assert.match(await served.raw(`${raw}Content-Length: 9\r\n\r\n`), /^HTTP\/1\.1 405 /)
})

test('requests sent one after another without waiting are answered in order', async (t) => {
  const served = await serveRegistry(t)
  const one = head('/v2/own/app/manifests/v1').replace('Connection: close\r\n', '')
  const answer = await served.raw(`${one}${head(path)}`)
  const [first = '', second = ''] = answer.split(/(?=HTTP\/1\.1 200)/)
  assert.match(first, /oci\.image\.manifest/)
  assert.ok(second.includes(blobDigest) && second.endsWith(blobBytes.subarray(-1000).toString('latin1')))
})

test('at the end running answers finish, new requests are told 503, and idle connections go', async (t) => {
  const served = await serveRegistry(t)
  const { promise: finish, resolve: letFinish } = Promise.withResolvers<void>()
  served.content.pipe = async (sink, bytes) => {
    await sink.write(bytes.subarray(0, 1000))
    await finish
    await sink.write(bytes.subarray(1000))
  }
  const running = served.connect()
  const received = readAll(running, head(path).replace('Connection: close\r\n', ''))
  await once(running, 'data')
  const closing = served.server.close(60_000)
  running.write(head('/v2/'))
  letFinish()
  const answer = await received
  await closing
  assert.ok(answer.length > blobBytes.byteLength)
  assert.match(answer, /HTTP\/1\.1 503 /)
  assert.match(answer, /"code":"UNAVAILABLE"/)
})

test('at the end of its grace a running answer is cut', async (t) => {
  const served = await serveRegistry(t)
  served.content.pipe = async (sink, bytes) => {
    await sink.write(bytes.subarray(0, 1000))
    await new Promise<void>(() => {})
  }
  const running = served.connect()
  const received = readAll(running, head(path))
  await once(running, 'data')
  await served.server.close(1)
  assert.ok((await received).length < 2000)
})
