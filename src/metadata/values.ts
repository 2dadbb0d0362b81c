/** Between columns (null, 0 and 1) and the domain (undefined, booleans). */

export function toFlag(value: boolean): 0 | 1 {
  return value ? 1 : 0
}

export function fromFlag(value: number): boolean {
  return value !== 0
}

export function toNull<Value>(value: Value | null | undefined): Value | null {
  return value ?? null
}

export function fromNull<Value>(value: Value | null): Value | undefined {
  return value ?? undefined
}

/**
 * Parameters as both databases take them. PostgreSQL refuses NUL in text, and one hostile header must not become an
 * internal error, so it is replaced on both; nothing that we match by (names, tags, digests) may contain it.
 */
export function storableParameters(parameters: readonly unknown[]): readonly unknown[] {
  return parameters.some(hasNul) ? parameters.map((value) => (hasNul(value) ? replaceNul(value) : value)) : parameters
}

function hasNul(value: unknown): value is string {
  return typeof value === 'string' && value.includes('\0')
}

function replaceNul(text: string): string {
  return text.replaceAll('\0', '\ufffd')
}
