/** The `/v2` server: takes raw requests before Fastify, answers each exactly once, and observes each exactly once. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { monotonicMs } from '../../base/clock.ts'
import { parseRequest } from '../../oci/request.ts'
import type { AccessRecord } from '../access-record.ts'
import { HTTP_LIMITS } from '../limits.ts'
import { makeRequestIds } from '../request-ids.ts'
import { formatChallenge } from './challenge.ts'
import { asRegistryError, toErrorAnswer } from './error-answer.ts'
import type { Answer, BlobAnswer, Exchange } from './exchange.ts'
import { handle } from './handlers.ts'
import { makeAnswerHot } from './hot-manifests.ts'
import type { RegistryDeps } from './registry-deps.ts'
import { ResponseSink } from './response-sink.ts'

export type RegistryHandler = (request: IncomingMessage, response: ServerResponse) => void

export function createRegistryHandler(deps: RegistryDeps): RegistryHandler {
  const nextId = makeRequestIds()
  const answerHot = makeAnswerHot(deps)
  return (request, response) => {
    if (answerHot(request, response, nextId)) return
    void answerOnce(deps, request, response, nextId())
  }
}

async function answerOnce(
  deps: RegistryDeps,
  request: IncomingMessage,
  response: ServerResponse,
  id: string,
): Promise<void> {
  const startMs = monotonicMs()
  const exchange: Exchange = { request, response, record: beginRecord(deps, request, id), challenge: {} }
  guardConnection(deps, request, response)
  try {
    await send(deps, exchange, await makeAnswer(deps, exchange))
  } catch (error) {
    try {
      await send(deps, exchange, refuse(deps, exchange, error))
    } catch (failure) {
      deps.report('answer_failed', { id, error: failure })
      response.destroy()
    }
  }
  exchange.record.ms = monotonicMs() - startMs
  deps.observe(exchange.record)
}

function beginRecord(deps: RegistryDeps, request: IncomingMessage, id: string): AccessRecord {
  const url = request.url ?? ''
  const mark = url.indexOf('?')
  return {
    id,
    method: request.method ?? '',
    path: mark === -1 ? url : url.slice(0, mark),
    kind: 'unknown',
    organization: undefined,
    repository: undefined,
    reference: undefined,
    status: 0,
    outcome: undefined,
    bytes: 0,
    ms: 0,
    upstreamMs: 0,
    principal: undefined,
    address: deps.origin.address(request),
    isAborted: false,
    error: undefined,
  }
}

/**
 * A client that takes nothing of what is ready for it is cut; waiting for us, or for an upstream, is no fault of its.
 */
function guardConnection(deps: RegistryDeps, request: IncomingMessage, response: ServerResponse): void {
  const idleMs = deps.settings.clientIdleMs ?? HTTP_LIMITS.clientIdleMs
  response.setTimeout(idleMs, () => {
    if ((response.socket?.writableLength ?? 0) > 0) response.destroy()
  })
  response.on('error', () => {}) // A connection that breaks shows as `close`, which whoever writes listens for.
  let unwantedBytes = 0
  request.on('data', (chunk: Buffer) => {
    unwantedBytes += chunk.byteLength
    if (unwantedBytes > HTTP_LIMITS.unwantedBodyBytesMax) request.destroy()
  })
  request.on('error', () => {})
}

async function makeAnswer(deps: RegistryDeps, exchange: Exchange): Promise<Answer> {
  const parsed = parseRequest(exchange.request.method ?? '', exchange.request.url ?? '')
  exchange.record.kind = parsed.kind
  return handle(deps, exchange, parsed)
}

function refuse(deps: RegistryDeps, exchange: Exchange, thrown: unknown): Answer {
  const { record, request, challenge } = exchange
  const error = asRegistryError(thrown, record.kind, record.repository)
  record.error = `${error.code}: ${error.message}`
  if (error.case === 'UNKNOWN') deps.report('request_failed', { id: record.id, error: error.cause ?? error })
  return toErrorAnswer(error, record.id, () => formatChallenge(request, challenge, deps.settings, deps.origin))
}

/** Rejects only while nothing has been sent, so that an error can still be answered. */
async function send(deps: RegistryDeps, exchange: Exchange, answer: Answer): Promise<void> {
  const { response, record } = exchange
  if (response.destroyed) {
    record.isAborted = true
    if ('blob' in answer) answer.blob.close()
    return
  }
  if ('blob' in answer) return sendBlob(deps, exchange, answer)
  record.status = answer.status
  response.writeHead(answer.status, answer.headers)
  const isBodiless = record.method === 'HEAD' || answer.body === undefined
  response.end(isBodiless ? undefined : answer.body)
  if (!isBodiless) record.bytes = Buffer.byteLength(answer.body ?? '')
}

/** Bytes that cannot be completed end in a broken connection: no client may take them for the whole. */
async function sendBlob(deps: RegistryDeps, exchange: Exchange, answer: BlobAnswer): Promise<void> {
  const { response, record } = exchange
  const { blob, lengthBytes, status, headers } = answer
  const sink = new ResponseSink(response, () => {
    record.status = status
    response.writeHead(status, headers)
  })
  try {
    await blob.pipe(sink)
    const isShort = lengthBytes !== undefined && sink.bytes !== lengthBytes
    if (isShort && !sink.isGone) throw new Error(`${sink.bytes} bytes of ${lengthBytes} were sent`)
    if (!sink.isGone) {
      sink.begin()
      response.end()
    }
  } catch (error) {
    if (!sink.hasBegun && !sink.isGone) throw error
    if (!sink.isGone) breakOff(deps, exchange, error)
  }
  record.bytes = sink.bytes
  record.isAborted = sink.isGone && record.error === undefined
}

function breakOff(deps: RegistryDeps, exchange: Exchange, thrown: unknown): void {
  const { record, response } = exchange
  response.destroy()
  const error = asRegistryError(thrown, record.kind, record.repository)
  record.error = `${error.code}: ${error.message}`
  if (error.case !== 'UNKNOWN') return
  deps.report('answer_broken_off', { id: record.id, error: error.cause ?? error })
}
