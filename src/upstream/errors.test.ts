import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UpstreamError, type UpstreamFailure } from '../errors.ts'
import { AddressRefusedError, type FailurePlace, toUpstreamError } from './errors.ts'

const HTTPS: FailurePlace = { host: 'quay.io', scheme: 'https', isRegistry: true }
const HTTP: FailurePlace = { ...HTTPS, scheme: 'http' }

function coded(code: string, more: object = {}): Error {
  return Object.assign(new Error('hunter2 at https://user:hunter2@quay.io/path?token=hunter2'), { code, ...more })
}

const ROWS: [error: unknown, place: FailurePlace, failure: UpstreamFailure, outage: boolean, says: RegExp][] = [
  [coded('ECONNREFUSED'), HTTPS, 'unreachable', true, /refused/],
  [coded('ECONNRESET'), HTTPS, 'unreachable', true, /closed the connection/],
  [coded('ECONNRESET'), HTTP, 'unreachable', true, /unset "insecure"/],
  [coded('ENOTFOUND'), HTTPS, 'unreachable', true, /DNS does not know/],
  [coded('EAI_AGAIN'), HTTPS, 'unreachable', true, /resolver/],
  [coded('UND_ERR_CONNECT_TIMEOUT'), HTTPS, 'timeout', true, /firewall/],
  [coded('UND_ERR_HEADERS_TIMEOUT'), HTTPS, 'timeout', true, /did not answer in time/],
  [coded('SELF_SIGNED_CERT_IN_CHAIN'), HTTPS, 'unreachable', true, /CA certificate/],
  [coded('DEPTH_ZERO_SELF_SIGNED_CERT'), HTTPS, 'unreachable', true, /CA certificate/],
  [coded('UNABLE_TO_VERIFY_LEAF_SIGNATURE'), HTTPS, 'unreachable', true, /CA certificate/],
  [coded('CERT_HAS_EXPIRED'), HTTPS, 'unreachable', true, /expired/],
  [coded('ERR_TLS_CERT_ALTNAME_INVALID'), HTTPS, 'unreachable', true, /other names/],
  [coded('ERR_SSL_WRONG_VERSION_NUMBER'), HTTPS, 'unreachable', true, /set "insecure"/],
  [coded('ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR'), HTTPS, 'unreachable', true, /handshake/],
  [coded('HPE_INVALID_CONSTANT', { data: '\x15\x03\x01\x00\x02' }), HTTP, 'protocol', false, /unset "insecure"/],
  [coded('HPE_INVALID_CONSTANT', { data: 'SSH-2.0' }), HTTP, 'protocol', false, /not HTTP/],
  [coded('UND_ERR_HEADERS_OVERFLOW'), HTTPS, 'protocol', false, /not HTTP/],
  [new AggregateError([coded('ECONNREFUSED'), coded('EHOSTUNREACH')]), HTTPS, 'unreachable', true, /refused/],
  [new Error('hunter2', { cause: coded('ENOTFOUND') }), HTTPS, 'unreachable', true, /DNS/],
  [new AddressRefusedError('add "x" to SSRF_ALLOWED_HOSTS'), HTTPS, 'unreachable', false, /SSRF_ALLOWED_HOSTS/],
  ['hunter2', HTTPS, 'unreachable', true, /cannot ask quay\.io/],
  [coded('WEIRD hunter2'), HTTPS, 'unreachable', true, /cannot ask quay\.io$/],
]

for (const [error, place, failure, outage, says] of ROWS) {
  const title = error instanceof Error && 'code' in error ? error.code : String(error)
  test(`${title} over ${place.scheme} is ${failure}, names the host and tells nothing else`, () => {
    const told = toUpstreamError(error, place)
    assert.deepEqual([told.failure, told.outage, told.host], [failure, outage, 'quay.io'])
    assert.match(told.message, says)
    assert.doesNotMatch(`${told.message} ${told.stack} ${told.cause}`, /hunter2/)
  })
}

test('after the headers, or elsewhere, a failure is no outage of the registry', () => {
  assert.equal(toUpstreamError(coded('ECONNRESET'), HTTPS, true).outage, false)
  assert.equal(toUpstreamError(coded('ECONNRESET'), { ...HTTPS, isRegistry: false }).outage, false)
})

test('what is an UpstreamError already stays as it is', () => {
  const error = new UpstreamError('protocol', 'quay.io', 'x')
  assert.equal(toUpstreamError(error, HTTPS), error)
})
