import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import fc from 'fast-check'
import { makeClientOrigin } from '../client-origin.ts'
import { formatChallenge } from './challenge.ts'

const origin = makeClientOrigin([])
const settings = { serverHostname: 'r.example.com', preferredScheme: undefined, rootOrganization: undefined }
const asked = (host: string | undefined) =>
  ({ socket: { remoteAddress: '192.0.2.1' }, headers: { host } }) as unknown as IncomingMessage

test('the realm is where the client came to, or the name of the server', () => {
  assert.equal(
    formatChallenge(asked('own:5000'), { scope: 'repository:a/b:pull' }, settings, origin),
    'Bearer realm="http://own:5000/v2/auth",service="r.example.com",scope="repository:a/b:pull"',
  )
  const secure = { ...settings, preferredScheme: 'https' as const }
  assert.equal(
    formatChallenge(asked(undefined), {}, secure, origin),
    'Bearer realm="https://r.example.com/v2/auth",service="r.example.com"',
  )
})

test('nothing of Host or ns leaves the quotes', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ maxLength: 300 }), (host, text) => {
      const ns = text.toWellFormed()
      const value = formatChallenge(asked(host), { ns }, settings, origin)
      const [, realm = ''] = /^Bearer realm="([^"\s\\]+)",service="r\.example\.com"$/.exec(value) ?? []
      const url = new URL(realm)
      assert.equal(url.pathname, '/v2/auth')
      assert.equal(url.searchParams.get('ns'), ns.length > 255 ? null : ns)
    }),
  )
})
