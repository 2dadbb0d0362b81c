/** Bounds of what the server takes from whoever connects. */
import { KiB, MINUTE_MS, MiB, SECOND_MS } from '../base/units.ts'

export const HTTP_LIMITS = {
  /** A client that takes not one byte of what is ready for it is cut after this long. */
  clientIdleMs: MINUTE_MS,
  /** Request line and headers must have come by then, or the connection is slow on purpose. */
  headersMs: 20 * SECOND_MS,
  /** The whole request: the largest bodies are some megabytes of JSON. */
  requestMs: MINUTE_MS,
  /**
   * Longer than the 60 s after which nginx drops an idle connection to us, so that it never writes into a closed one.
   */
  keepAliveMs: 65 * SECOND_MS,
  /** A registry token and a URL fit; Node's default. */
  headerBytesMax: 16 * KiB,
  /** Far above what any client sends. */
  headersMax: 200,
  connectionsMax: 20_000,
  /** Of a body that nobody wants: it is read away to this length, so that the client sees the answer. */
  unwantedBodyBytesMax: MiB,
} as const
