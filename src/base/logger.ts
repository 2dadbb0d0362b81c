/** The log: JSON lines on one stream, gathered and written asynchronously, flushed at the end. */
import { type DestinationStream, type Logger as Pino, pino } from 'pino'
import { LineWriter } from './line-writer.ts'

const standardOutput = 1

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
  /** Resolves when all lines were written, within a bound. */
  close(): Promise<void>
}

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
export type LogDestination = { write(line: string): void; drain?(): Promise<void> }

/** `destination`: default standard output. */
export function createLogger(options: { level: LogLevel; destination?: LogDestination; nowMs: () => number }): Logger {
  const destination: LogDestination = options.destination ?? new LineWriter(standardOutput)
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
  return {
    debug: (event, fields = {}) => logger.debug(fields, event),
    info: (event, fields = {}) => logger.info(fields, event),
    warn: (event, fields = {}) => logger.warn(fields, event),
    error: (event, fields = {}) => logger.error(fields, event),
    isEnabled: (level) => logger.isLevelEnabled(level),
    writeLine: (line) => destination.write(line),
    close: async () => destination.drain?.(),
  }
}
