/** Small tar archives, the same bytes in every run. POSIX ustar: a header of 512 bytes, then the content, padded. */

export type TarEntry = {
  /** Relative, at most 100 bytes; a directory ends in `/`. */
  path: string
  bytes?: Buffer
  mode?: number
  /** A symbolic link to this path. */
  linkTo?: string
}

const BLOCK = 512

export function makeTar(entries: readonly TarEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    const bytes = entry.bytes ?? Buffer.alloc(0)
    return [header(entry, bytes.byteLength), bytes, Buffer.alloc((BLOCK - (bytes.byteLength % BLOCK)) % BLOCK)]
  })
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)])
}

function header(entry: TarEntry, size: number): Buffer {
  const block = Buffer.alloc(BLOCK)
  const isDirectory = entry.path.endsWith('/')
  const type = entry.linkTo !== undefined ? '2' : isDirectory ? '5' : '0'
  block.write(entry.path, 0, 100)
  block.write(octal(entry.mode ?? (isDirectory ? 0o755 : 0o644), 8), 100)
  block.write(octal(0, 8), 108)
  block.write(octal(0, 8), 116)
  block.write(octal(size, 12), 124)
  block.write(octal(0, 12), 136)
  block.write(type, 156)
  block.write(entry.linkTo ?? '', 157, 100)
  block.write('ustar\u000000', 257)
  // The checksum is that of the header with spaces in the checksum's place.
  block.fill(' ', 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`
}
