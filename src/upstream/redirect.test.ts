import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isRedirect, resolveRedirect } from './redirect.ts'

const FROM = [new URL('https://quay.io/v2/a/blobs/x')]

test('a redirect may be relative, and loses its fragment', () => {
  assert.equal(resolveRedirect('/cdn/x?y#z', FROM, 5).href, 'https://quay.io/cdn/x?y')
  assert.equal(resolveRedirect('https://cdn.example/x', FROM, 5).href, 'https://cdn.example/x')
})

const REFUSED: [location: string | undefined, why: RegExp][] = [
  [undefined, /without saying where to/],
  ['https://', /without saying where to/],
  ['http://quay.io/v2/', /from TLS to plain HTTP/],
  ['file:///etc/passwd', /not HTTP/],
  ['https://user:password@cdn.example/', /credentials in it/],
  ['/v2/a/blobs/x', /in a circle/],
  [`https://${'x.'.repeat(200)}example/`, /without saying where to/],
]

for (const [location, why] of REFUSED) {
  test(`a redirect to ${location?.slice(0, 40)} is refused`, () => {
    assert.throws(
      () => resolveRedirect(location, FROM, 5),
      (error: Error) => why.test(error.message) && !error.message.includes('password') && 'failure' in error,
    )
  })
}

test('five redirects are followed, the sixth is not', () => {
  const seen = Array.from({ length: 6 }, (_, hop) => new URL(`https://quay.io/${hop}`))
  assert.equal(resolveRedirect('/next', seen.slice(0, 5), 5).pathname, '/next')
  assert.throws(() => resolveRedirect('/next', seen, 5), { failure: 'protocol' })
})

test('304 and 300 are no redirects', () => {
  assert.deepEqual([300, 301, 302, 303, 304, 307, 308].filter(isRedirect), [301, 302, 303, 307, 308])
})
