/** What a fake upstream answers, and how its quirks change it on the way to the socket. */
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Quirks } from './quirks.ts'
import type { TranscriptEntry } from './transcript.ts'

export type FakeAnswer = {
  status: number
  headers: Record<string, string>
  body: Buffer
  /** For a range: where `body` begins in the content. */
  start?: number
}

const chunkBytes = 16 * 1024

export function json(status: number, document: unknown, headers: Record<string, string> = {}): FakeAnswer {
  return {
    status,
    headers: { 'content-type': 'application/json', ...headers },
    body: Buffer.from(JSON.stringify(document)),
  }
}

export function errorAnswer(status: number, code: string, headers: Record<string, string> = {}): FakeAnswer {
  return json(status, { errors: [{ code, message: `fake ${code}` }] }, headers)
}

/** The quirks that change an answer before it is sent. */
export function distort(answer: FakeAnswer, quirks: Quirks): FakeAnswer {
  const headers = { ...answer.headers }
  let { body } = answer
  if (quirks.omitDigestHeader) delete headers['docker-content-digest']
  if (quirks.digestHeader !== undefined) headers['docker-content-digest'] = quirks.digestHeader
  if (quirks.contentType !== undefined) headers['content-type'] = quirks.contentType
  if (quirks.charsetInContentType) headers['content-type'] = `${headers['content-type']}; charset=utf-8`
  if (quirks.wrongByteAt !== undefined) body = flipByte(body, quirks.wrongByteAt, answer.start ?? 0)
  const delta = quirks.lengthDelta ?? 0
  if (delta > 0) body = Buffer.concat([body, Buffer.alloc(delta, 0x2e)])
  if (delta < 0) body = body.subarray(0, Math.max(0, body.byteLength + delta))
  return { ...answer, headers: { ...headers, ...quirks.headers }, body }
}

function flipByte(body: Buffer, position: number, start: number): Buffer {
  const copy = Buffer.from(body)
  const at = position < 0 ? copy.byteLength + position : position - start
  if (at >= 0 && at < copy.byteLength) copy[at] = (copy[at] ?? 0) ^ 0xff
  return copy
}

/** Send an answer as the quirks have it. Resolves when it is over, however it ended. */
export async function send(
  response: ServerResponse,
  answer: FakeAnswer,
  quirks: Quirks,
  entry: TranscriptEntry,
  changed: () => void,
): Promise<void> {
  const isHead = entry.method === 'HEAD'
  const bodyBytes = quirks.hugeManifestBytes ?? answer.body.byteLength
  if (!quirks.omitContentLength) {
    response.setHeader('content-length', bodyBytes + (quirks.contentLengthDelta ?? 0))
  }
  for (const [name, value] of Object.entries(answer.headers)) response.setHeader(name, value)
  entry.status = answer.status
  response.writeHead(answer.status)
  changed()
  if (isHead) return void response.end()
  response.flushHeaders()

  const stop = stopAt(answer, quirks)
  const gone = new Promise<undefined>((resolve) => response.once('close', () => resolve(undefined)))
  while (entry.bodyBytes < bodyBytes) {
    if (response.destroyed || response.socket === null) return
    if (entry.bodyBytes >= stop.bytes) {
      if (stop.gate === undefined) {
        if (quirks.breakWhen !== undefined) await Promise.race([quirks.breakWhen.passed, gone])
        return void response.socket?.destroy()
      }
      await Promise.race([stop.gate, gone])
      stop.bytes = Number.POSITIVE_INFINITY
    }
    const wanted = Math.min(chunkBytes, bodyBytes - entry.bodyBytes, stop.bytes - entry.bodyBytes)
    const length = await (quirks.valve === undefined
      ? wanted
      : Promise.race([quirks.valve.next(entry.bodyBytes, wanted), gone]))
    if (length === undefined || response.destroyed) return
    if (quirks.bytesPerSecond !== undefined) await delay((length / quirks.bytesPerSecond) * 1000)
    const chunk =
      quirks.hugeManifestBytes === undefined
        ? answer.body.subarray(entry.bodyBytes, entry.bodyBytes + length)
        : Buffer.alloc(length, 0x20)
    entry.bodyBytes += length
    if (!(await write(response, chunk))) return
    changed()
  }
  if ((quirks.contentLengthDelta ?? 0) > 0) return void response.socket?.end()
  response.end()
}

/** After how many bytes of this answer's body it breaks off, or waits for a gate. */
function stopAt(answer: FakeAnswer, quirks: Quirks): { bytes: number; gate: Promise<void> | undefined } {
  const hang = quirks.hangMidBodyAt
  if (typeof hang === 'number') return { bytes: hang, gate: new Promise(() => {}) }
  if (hang !== undefined) return { bytes: hang.bytes, gate: hang.gate.passed }
  const truncated = (quirks.truncateBlobAt ?? Number.POSITIVE_INFINITY) - (answer.start ?? 0)
  return { bytes: Math.max(0, Math.min(truncated, quirks.cutEvery ?? Number.POSITIVE_INFINITY)), gate: undefined }
}

/** False when the other side has gone. */
async function write(response: ServerResponse, chunk: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    if (response.destroyed) return resolve(false)
    const gone = () => resolve(false)
    response.once('close', gone)
    response.write(chunk, (error) => {
      response.off('close', gone)
      resolve(!error)
    })
  })
}
