import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatUpstreamName, hostWithoutPort, isNotAnUpstreamName, parseUpstreamName } from './upstream-name.ts'

const ACCEPTED: readonly [string, string, string | undefined, boolean][] = [
  ['quay.io', 'quay.io', undefined, false],
  ['Quay.IO', 'quay.io', undefined, false],
  [' quay.io/projectquay ', 'quay.io', 'projectquay', false],
  ['quay.io/a/b/', 'quay.io', 'a/b', false],
  ['quay.io/', 'quay.io', undefined, false],
  ['localhost:5000', 'localhost:5000', undefined, false],
  ['registry:00443', 'registry:443', undefined, false],
  ['127.0.0.1:5000/team', '127.0.0.1:5000', 'team', false],
  ['[0:0::1]:5000', '[::1]:5000', undefined, false],
  ['[2001:DB8::1]', '[2001:db8::1]', undefined, false],
  ['docker.io', 'registry-1.docker.io', undefined, true],
  ['index.docker.io/library', 'registry-1.docker.io', 'library', true],
  ['registry.hub.docker.com', 'registry-1.docker.io', undefined, true],
  ['xn--bcher-kva.example', 'xn--bcher-kva.example', undefined, false],
]

for (const [text, host, namespace, isDockerHub] of ACCEPTED) {
  test(`"${text}" names the upstream ${host}`, () => {
    assert.deepEqual(parseUpstreamName(text), { host, namespace, isDockerHub })
  })
}

const REFUSED = [
  '',
  ' ',
  '/x',
  'https://quay.io',
  'HTTP://quay.io',
  'user:secret@quay.io',
  'quay.io:0',
  'quay.io:65536',
  'quay.io:',
  'quay.io:x',
  '::1',
  '[::1',
  '[::g]',
  '[fe80::1%eth0]',
  'bücher.example',
  'q uay.io',
  'quay..io',
  '-quay.io',
  'quay.io/UPPER',
  'quay.io//x',
  'quay.io/../x',
  'quay.io/x?y',
  'quay.io#x',
  'quay.io\r\nX-Evil: 1',
  'quay.io\0',
  '127.1',
  '0x7f000001',
  '2130706433',
  '0177.0.0.1',
  `${'a'.repeat(64)}.io`,
  `${'a.'.repeat(130)}io`,
  `quay.io/${'a'.repeat(300)}`,
]

for (const text of REFUSED) {
  test(`${JSON.stringify(text).slice(0, 60)} names no upstream, and the refusal does not repeat it`, () => {
    const parsed = parseUpstreamName(text)
    assert.ok(isNotAnUpstreamName(parsed), JSON.stringify(parsed))
    assert.ok(!parsed.problem.includes('secret'))
  })
}

test('no text makes the parser throw, and what it accepts it reads back unchanged', () => {
  const pieces = fc.constantFrom(
    'a',
    'quay.io',
    ':',
    '/',
    '[',
    ']',
    '::',
    '1',
    '.',
    '-',
    '@',
    'docker.io',
    'é',
    '%',
    ' ',
  )
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(pieces).map((list) => list.join('')),
      ),
      (text) => {
        const parsed = parseUpstreamName(text)
        if (isNotAnUpstreamName(parsed)) return
        assert.deepEqual(parseUpstreamName(formatUpstreamName(parsed)), parsed)
        assert.equal(new URL(`https://${parsed.host}/`).username, '')
      },
    ),
    { numRuns: 2000 },
  )
})

test('the host is found without its port', () => {
  assert.equal(hostWithoutPort('[::1]:5000'), '::1')
  assert.equal(hostWithoutPort('quay.io:443'), 'quay.io')
  assert.equal(hostWithoutPort('quay.io'), 'quay.io')
})
