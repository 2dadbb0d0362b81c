/** The clock that tests set: a file with milliseconds since the epoch, read at every look. */
import { readFileSync } from 'node:fs'
import type { Clock } from './clock.ts'

/** It keeps the last instant while the file is being written. Errors: when the file holds none at the start. */
export function openFileClock(file: string): Clock {
  let lastMs = read(file)
  if (lastMs === undefined) throw new Error(`the test clock ${file} holds no milliseconds since the epoch`)
  return () => {
    lastMs = read(file) ?? lastMs ?? 0
    return lastMs
  }
}

function read(file: string): number | undefined {
  const text = readFileSync(file, 'utf8').trim()
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
