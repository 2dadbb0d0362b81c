/** Whole documents out of bodies, within a size and a time. */
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { afterMs } from '../base/timers.ts'
import { UpstreamError } from '../errors.ts'
import { protocolError } from './errors.ts'

export type DocumentBounds = { bytesMax: number; ms: number }

/** The headers of an answer, with lower-case names. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>

/**
 * Read a body to its end, decoding gzip; the bound is on what comes out. Stops reading at the byte after it.
 * Errors: UpstreamError `protocol` when it is too large or encoded in another way; `timeout`; what the body throws.
 */
export async function readDocument(
  answer: { headers: AnswerHeaders; body: Readable; host: string },
  bounds: DocumentBounds,
): Promise<Buffer> {
  const { body, host, headers } = answer
  const timer = afterMs(bounds.ms, () => body.destroy(tooSlow(host)))
  try {
    const announced = parseLength(headers['content-length'])
    if (announced !== undefined && announced > bounds.bytesMax) throw tooLarge(host, bounds.bytesMax)
    return await collect(decoded(body, oneHeader(headers['content-encoding']), host), bounds.bytesMax, host)
  } catch (error) {
    body.destroy()
    if (error instanceof Error && 'code' in error && String(error.code).startsWith('Z_')) {
      throw protocolError(host, 'sent a body that is not the gzip it announced')
    }
    throw error
  } finally {
    timer.cancel()
  }
}

/** A header that must stand alone; the first one when it does not. */
export function oneHeader(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header
}

/** `Content-Length`, or undefined. */
export function parseLength(header: string | string[] | undefined): number | undefined {
  const text = oneHeader(header)
  if (text === undefined || !/^\d{1,15}$/.test(text)) return undefined
  return Number(text)
}

export function isIdentity(headers: AnswerHeaders): boolean {
  const encoding = oneHeader(headers['content-encoding'])?.trim().toLowerCase() ?? ''
  return encoding === '' || encoding === 'identity'
}

function decoded(body: Readable, encoding: string | undefined, host: string): Readable {
  switch (encoding?.trim().toLowerCase() ?? '') {
    case '':
    case 'identity':
      return body
    case 'gzip':
    case 'x-gzip': {
      const gunzip = createGunzip()
      body.once('error', (error) => gunzip.destroy(error))
      return body.pipe(gunzip)
    }
    default:
      throw protocolError(host, 'sent a document in an encoding that was not asked for')
  }
}

async function collect(source: Readable, bytesMax: number, host: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of source as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength
    if (bytes > bytesMax) throw tooLarge(host, bytesMax)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, bytes)
}

function tooLarge(host: string, bytesMax: number): UpstreamError {
  return protocolError(host, `sent a document of more than ${bytesMax} bytes`)
}

function tooSlow(host: string): UpstreamError {
  return new UpstreamError('timeout', host, `${host} did not finish its answer in time; try again later`)
}
