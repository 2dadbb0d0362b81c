/** Sizes as people write them, `500 MB` or `1.5 GiB`, to bytes and back. */
import { GiB, KiB, MiB } from './units.ts'

const BINARY_UNITS = { B: 1, KiB, MiB, GiB, TiB: 1024 * GiB, PiB: 1024 * 1024 * GiB } as const
const BYTES_PER_UNIT: Readonly<Record<string, number>> = {
  ...BINARY_UNITS,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  PB: 1e15,
}

const SIZE = /^(\d{1,16})(?:\.(\d{1,3}))? ?([KMGTP]?i?B)$/

/** Whole bytes; undefined for what is no size, comes to a fraction of a byte, or is beyond 2^53. */
export function parseByteSize(text: string): number | undefined {
  const [, whole, fraction = '', unit = ''] = SIZE.exec(text) ?? []
  if (whole === undefined || !Object.hasOwn(BYTES_PER_UNIT, unit)) return undefined
  // In thousandths, and exactly: 0.3 GB is no whole number of bytes to a floating-point number.
  const thousandths = BigInt(whole + fraction.padEnd(3, '0')) * BigInt(BYTES_PER_UNIT[unit] ?? 0)
  const bytes = Number(thousandths / 1000n)
  return thousandths % 1000n === 0n && Number.isSafeInteger(bytes) ? bytes : undefined
}

/** In the largest binary unit of which there is at least one, with one decimal, as Quay does: `10.0 GiB`. */
export function formatByteSize(bytes: number): string {
  const [unit, size] = Object.entries(BINARY_UNITS).findLast(([, of]) => bytes >= of) ?? ['B', 1]
  return `${(bytes / size).toFixed(1)} ${unit}`
}
