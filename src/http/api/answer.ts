/** Answers of `/api/v1`: Quay's JSON, for results and for errors. */
import type { FastifyReply } from 'fastify'
import { ADMIN_ERRORS, AdminError } from '../../admin/admin-error.ts'

/** Undefined body: none (204). Quay's bodies are JSON also where they are a text: `"Created"`. */
export type ApiAnswer = { status: number; body?: unknown; headers?: Readonly<Record<string, string>> }

/**
 * Quay's error body (its endpoints/exception.py), where the message stands twice. `message`: what Quay's clients read
 * of `/user/initialize`, which answers in another form there.
 */
export type ErrorBody = {
  detail: string
  error_message: string
  error_type: string
  message: string
  title: string
  type: string
  status: number
}

/** Characters of a message: it may quote what a client sent. */
const messageCharactersMax = 1000

export function sendAnswer(reply: FastifyReply, answer: ApiAnswer): FastifyReply {
  void reply.code(answer.status).header('Cache-Control', 'no-store')
  if (answer.headers !== undefined) void reply.headers(answer.headers)
  if (answer.body === undefined) return reply.send()
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(answer.body))
}

export function sendError(reply: FastifyReply, error: AdminError, serverHostname: string): FastifyReply {
  if (error.retryAfterSeconds !== undefined) void reply.header('Retry-After', String(error.retryAfterSeconds))
  // RFC 9110, 11.6.1. Not Basic: a browser would put its own window over the console's.
  if (error.status === 401) void reply.header('WWW-Authenticate', `Bearer error="${error.type}"`)
  return sendAnswer(reply, { status: error.status, body: toErrorBody(error, serverHostname) })
}

export function toErrorBody(error: AdminError, serverHostname: string): ErrorBody {
  const message = error.message.slice(0, messageCharactersMax)
  return {
    detail: message,
    error_message: message,
    error_type: error.type,
    message,
    title: error.type,
    type: `https://${serverHostname}/api/v1/error/${error.type}`,
    status: error.status,
  }
}

/** What Fastify throws before a handler runs, and whatever else was thrown. */
export function toAdminError(error: unknown): AdminError {
  if (error instanceof AdminError) return error
  const status = typeof error === 'object' && error !== null ? Reflect.get(error, 'statusCode') : undefined
  const internal = () => new AdminError('INTERNAL_ERROR', ADMIN_ERRORS.INTERNAL_ERROR.description, { cause: error })
  if (typeof status !== 'number') return internal()
  switch (status) {
    case 413:
      return new AdminError('REQUEST_TOO_LARGE', 'body: larger than 1 MiB', { cause: error })
    case 415:
      return new AdminError('UNSUPPORTED_MEDIA_TYPE', 'body: expected Content-Type: application/json', { cause: error })
    case 404:
      return new AdminError('NOT_FOUND', 'not found', { cause: error })
    default:
      // Fastify's own messages of 4xx quote nothing but the parser's complaint; ours says less and is stable.
      return status >= 400 && status < 500
        ? new AdminError('INVALID_REQUEST', 'body: expected a JSON object', { cause: error })
        : internal()
  }
}
