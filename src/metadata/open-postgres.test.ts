import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { openPostgres, serverProblem } from './open-postgres.ts'

const PASSWORD = 'p%40ss-w0rd'

/** Everything that could end in a log: the message, the causes, the stack. */
async function failure(uri: string): Promise<string> {
  const error = await openPostgres(uri, () => {}).then(
    () => assert.fail('it opened'),
    (reason: unknown) => reason,
  )
  return inspect(error, { depth: 10, showHidden: true })
}

test('a URI that is none for PostgreSQL is refused without being printed', async () => {
  for (const uri of [
    `mysql://user:${PASSWORD}@host/db`,
    `postgresql://user:${PASSWORD}@host:port/db`,
    `postgresql://[${PASSWORD}`,
    PASSWORD,
    '',
  ]) {
    const text = await failure(uri)
    assert.match(text, /cannot use DB_URI: expected postgresql:/)
    assert.doesNotMatch(text, /p%40ss|p@ss|user/)
  }
})

test('a server that is not there, or that says the password back, is named without the password', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {}).resume()
    // An ErrorResponse whose message is hostile.
    const fields = Buffer.from(`SFATAL\0C28P01\0Mno: p@ss-w0rd and ${PASSWORD}\0\0`)
    const head = Buffer.from('E\0\0\0\0')
    head.writeInt32BE(fields.length + 4, 1)
    socket.end(Buffer.concat([head, fields]))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  t.after(() => server.close())
  const uri = `postgresql://user:${PASSWORD}@127.0.0.1:${address.port}/metadata?sslmode=disable`
  const hostile = await failure(uri)
  assert.match(hostile, /cannot use the database metadata at 127\.0\.0\.1:\d+: no: \*\*\* and \*\*\*/)
  assert.doesNotMatch(hostile, /p%40ss|p@ss/)

  await new Promise((resolve) => server.close(resolve))
  const refused = await failure(uri)
  assert.match(refused, /cannot use the database metadata at 127\.0\.0\.1:\d+: .*ECONNREFUSED/)
  assert.doesNotMatch(refused, /p%40ss|p@ss/)
})

test('servers before 15, and those that cannot hold every text, are refused', () => {
  assert.equal(serverProblem({ version: '150004', encoding: 'UTF8' }), undefined)
  assert.equal(serverProblem({ version: '180000', encoding: 'UTF8' }), undefined)
  assert.equal(
    serverProblem({ version: '140011', encoding: 'UTF8' }),
    'the server is PostgreSQL 14; expected 15 or later',
  )
  assert.equal(serverProblem({ version: '150004', encoding: 'SQL_ASCII' }), 'its encoding is SQL_ASCII; expected UTF8')
})
