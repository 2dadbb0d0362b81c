import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger, type LogLevel } from './logger.ts'

function gather(level: LogLevel) {
  const lines: string[] = []
  const logger = createLogger({ level, nowMs: () => 7, destination: { write: (line) => void lines.push(line) } })
  return { logger, lines }
}

test('an event is one line of JSON, with its level, time and fields', () => {
  const { logger, lines } = gather('info')
  logger.warn('upstream_down', { host: 'quay.io' })
  logger.debug('not_written')
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    [{ level: 'warn', time: 7, event: 'upstream_down', host: 'quay.io' }],
  )
})

test('an error is written with its causes and its stack', () => {
  const { logger, lines } = gather('info')
  logger.error('request_failed', { error: new Error('outer', { cause: new Error('inner') }) })
  const { error } = JSON.parse(lines[0] ?? '')
  assert.match(error.stack, /^Error: outer\n {4}at /)
  assert.equal(error.cause.message, 'inner')
})

test('secrets are not written, wherever they stand', () => {
  const { logger, lines } = gather('info')
  logger.info('x', { password: 'hunter2', request: { authorization: 'hunter2' }, headers: { cookie: 'hunter2' } })
  assert.equal(lines.length, 1)
  assert.ok(!lines[0]?.includes('hunter2'))
})

test('a level says what is written', () => {
  assert.equal(gather('warn').logger.isEnabled('info'), false)
  assert.equal(gather('info').logger.isEnabled('info'), true)
  assert.equal(gather('silent').logger.isEnabled('error'), false)
})
