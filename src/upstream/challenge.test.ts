import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseChallenges } from './challenge.ts'

function plain(header: string | string[] | undefined): [string, Record<string, string>][] {
  return parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)])
}

const ROWS: [string, string | string[] | undefined, [string, Record<string, string>][]][] = [
  ['no header', undefined, []],
  ['an empty one', '', []],
  ['a scheme alone', 'Negotiate', [['negotiate', {}]]],
  [
    "Docker Hub's",
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
    [
      [
        'bearer',
        {
          realm: 'https://auth.docker.io/token',
          service: 'registry.docker.io',
          scope: 'repository:a/b:pull,push',
        },
      ],
    ],
  ],
  ['spaces around everything', ' ,  Basic   realm = "x" ,, ', [['basic', { realm: 'x' }]]],
  [
    'several in one header',
    'Negotiate, Basic realm="a, b", Bearer realm=c,service="d"',
    [
      ['negotiate', {}],
      ['basic', { realm: 'a, b' }],
      ['bearer', { realm: 'c', service: 'd' }],
    ],
  ],
  [
    'several headers',
    ['Basic realm="a"', 'Bearer realm="b"'],
    [
      ['basic', { realm: 'a' }],
      ['bearer', { realm: 'b' }],
    ],
  ],
  [
    'a token68',
    'Negotiate dGVzdA==, Basic realm="a"',
    [
      ['negotiate', {}],
      ['basic', { realm: 'a' }],
    ],
  ],
  ['escapes', 'Basic realm="a\\"b\\\\c"', [['basic', { realm: 'a"b\\c' }]]],
  ['a second realm', 'Bearer realm="first",realm="second"', [['bearer', { realm: 'first' }]]],
  ['a quote that does not end', 'Bearer realm="first', [['bearer', {}]]],
  ['names that JavaScript knows', 'Bearer __proto__="x",realm="y"', [['bearer', { ['__proto__']: 'x', realm: 'y' }]]],
]

for (const [title, header, expected] of ROWS) {
  test(`challenges of a header: ${title}`, () => {
    assert.deepEqual(plain(header), expected)
  })
}

test('no header makes it throw, and it ends in time', () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom('Bearer ', 'Basic', 'realm=', '"', ',', '=', ' ', '\\', 'a=b', 'dGVzdA=='),
  )
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      assert.ok(parseChallenges(pieces.join('')).length <= 16)
    }),
  )
  assert.ok(parseChallenges('a,'.repeat(100_000)).length <= 16)
  assert.ok(parseChallenges(`Bearer ${'a=b '.repeat(100_000)}`).length <= 16)
})

test('what is written is read back', () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/)
  const parameters = fc.dictionary(name, fc.string({ unit: 'grapheme-ascii' }), { minKeys: 1, maxKeys: 4 })
  fc.assert(
    fc.property(fc.array(fc.tuple(name, parameters), { minLength: 1, maxLength: 5 }), (challenges) => {
      const header = challenges.map(([scheme, values]) => {
        const pairs = Object.entries(values).map(([key, value]) => `${key}="${value.replace(/["\\]/g, '\\$&')}"`)
        return `${scheme} ${pairs.join(', ')}`
      })
      const expected = challenges.map(([scheme, values]) => [scheme, { ...values }])
      assert.deepEqual(plain(header.join(', ')), expected)
    }),
  )
})
