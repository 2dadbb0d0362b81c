import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatByteSize, parseByteSize } from './byte-size.ts'

const SIZES: readonly [string, number | undefined][] = [
  ['0 B', 0],
  ['1B', 1],
  ['150 MB', 150_000_000],
  ['150MB', 150_000_000],
  ['10 GiB', 10_737_418_240],
  ['1.5 GiB', 1_610_612_736],
  ['0.3 GB', 300_000_000],
  ['0.001 KB', 1],
  ['9007199254740991 B', 2 ** 53 - 1],
  ['7 PiB', 7 * 2 ** 50],
  ['9007199254740992 B', undefined],
  ['8 PiB', undefined],
  ['9999999999999999 PB', undefined],
  ['0.5 B', undefined],
  ['0.1 KiB', undefined],
  ['1.0001 GB', undefined],
  ['-1 GiB', undefined],
  ['1e9 B', undefined],
  ['1,5 GiB', undefined],
  ['10', undefined],
  ['10 gib', undefined],
  ['10 G', undefined],
  ['10 iB', undefined],
  ['10 XB', undefined],
  ['10  GiB', undefined],
  ['10 GiB\n', undefined],
  [' 10 GiB', undefined],
  ['٣ GiB', undefined],
  ['', undefined],
  ['constructor', undefined],
]

for (const [text, bytes] of SIZES) {
  test(`${JSON.stringify(text)} is ${bytes === undefined ? 'no size' : `${bytes} bytes`}`, () => {
    assert.equal(parseByteSize(text), bytes)
  })
}

test('sizes are shown in the largest binary unit that they fill', () => {
  const shown = [0, 1, 1023, 1024, 150_000_000, 10 * 2 ** 30, 2 ** 53 - 1].map(formatByteSize)
  assert.deepEqual(shown, ['0.0 B', '1.0 B', '1023.0 B', '1.0 KiB', '143.1 MiB', '10.0 GiB', '8.0 PiB'])
})
