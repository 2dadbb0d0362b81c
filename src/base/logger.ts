/** The log: JSON lines on one stream, gathered and written asynchronously, flushed at the end. */
import { type DestinationStream, type Logger as Pino, pino } from 'pino'
import { everyMs } from './timers.ts'
import { KiB, MiB, SECOND_MS } from './units.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'
export type LogFields = Readonly<Record<string, unknown>>

export interface Logger {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
  /** Whether lines of this level are written: for whoever makes lines itself. */
  isEnabled(level: Exclude<LogLevel, 'silent'>): boolean
  /** Append a finished line, its line break included. */
  writeLine(line: string): void
  /** Write what was gathered, now. */
  flush(): void
  /** Flush for the last time. */
  close(): void
}

export const LOG_LIMITS = {
  /** Gathered before one write: a line is some 400 bytes. */
  gatheredBytes: 32 * KiB,
  writtenBytesMax: 64 * KiB,
  /** When nobody takes the log, lines beyond this are dropped: it must not eat the memory. */
  waitingBytesMax: 16 * MiB,
} as const
/** Longest that a line waits when few come. */
const flushMs = SECOND_MS / 2

/** Whatever is called so is a secret, wherever a caller may have put it. */
const SECRETS = [
  'password',
  'secret',
  'token',
  'authorization',
  'cookie',
  'credentials',
  'accessToken',
  'headers.authorization',
  'headers.cookie',
  'headers["www-authenticate"]',
].flatMap((path) => [path, `*.${path}`])

/** A line's destination; tests hand in their own. */
export type LogDestination = { write(line: string): void; flushSync?(): void }

/** `destination`: default standard output. */
export function createLogger(options: { level: LogLevel; destination?: LogDestination; nowMs: () => number }): Logger {
  const own = options.destination === undefined ? openStandardOutput() : undefined
  const destination: LogDestination = options.destination ?? (own as LogDestination)
  const timer = own && everyMs(flushMs, () => own.flush())
  const logger: Pino = pino(
    {
      level: options.level,
      base: null,
      timestamp: () => `,"time":${options.nowMs()}`,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'event',
      errorKey: 'error',
      serializers: { error: pino.stdSerializers.errWithCause },
      redact: { paths: SECRETS, censor: '[secret]' },
    },
    destination as DestinationStream,
  )
  const flush = () => destination.flushSync?.()
  return {
    debug: (event, fields = {}) => logger.debug(fields, event),
    info: (event, fields = {}) => logger.info(fields, event),
    warn: (event, fields = {}) => logger.warn(fields, event),
    error: (event, fields = {}) => logger.error(fields, event),
    isEnabled: (level) => logger.isLevelEnabled(level),
    writeLine: (line) => destination.write(line),
    flush,
    close() {
      timer?.cancel()
      flush()
    },
  }
}

function openStandardOutput() {
  const { gatheredBytes: minLength, writtenBytesMax: maxWrite, waitingBytesMax: maxLength } = LOG_LIMITS
  return pino.destination({ dest: 1, sync: false, minLength, maxWrite, maxLength })
}
