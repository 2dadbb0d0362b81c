/** What `scripts/tidy.ts` holds the sources to. */

/**
 * Which part of `src` may import which; a part is a folder or a file of `src`. `blobs/blob-store` means this file only.
 */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  errors: ['base'],
  oci: ['errors', 'base'],
  blobs: ['oci', 'errors', 'base'],
  metadata: ['oci', 'errors', 'base'],
  upstream: ['oci', 'errors', 'base'],
  registry: ['blobs/blob-store', 'metadata', 'oci', 'errors', 'base'],
  admin: ['registry', 'metadata', 'oci', 'errors', 'base'],
  workers: ['registry', 'admin', 'blobs', 'metadata', 'oci', 'errors', 'base'],
  http: ['registry', 'admin', 'oci', 'errors', 'base'],
  config: ['oci', 'errors', 'base'],
  cli: ['config', 'oci', 'errors', 'base'],
}

/** The composition root: these files wire the parts together, so they import everything and make what they like. */
export const WIRING: readonly string[] = [
  'main',
  'app',
  'foundations',
  'cache',
  'observation',
  'cache-space',
  'collection',
  'rotate-secrets',
]

/** The parts whose classes are values or errors, made by anyone; those of other parts are wired in `app.ts` only. */
export const FREELY_MADE: readonly string[] = ['base', 'errors', 'oci']

export const LINES_OF_FUNCTION_MAX = 70
export const LINES_OF_FILE_MAX = 400
export const CHARACTERS_OF_LINE_MAX = 120
/** A string this long cannot be broken without harm to whoever searches for it. */
export const UNBREAKABLE_STRING = /(['"`])(?:(?!\1).){70,}\1/

/** Files and functions (`file#function`) that may be longer, each with its reason. */
export const MAY_BE_LONGER: Readonly<Record<string, string>> = {
  'src/metadata/migrations/0001-initial.ts': 'the schema reads best in one piece, and never changes again',
}

export type Forbidden = { homes: readonly string[]; instead: string }

/** Calls and names, where they are at home, and what to use elsewhere. Only in `src`, not in its tests. */
export const FORBIDDEN: Readonly<Record<string, Forbidden>> = {
  parseInt: { homes: [], instead: 'Number(), and check what comes out' },
  parseFloat: { homes: [], instead: 'Number(), and check what comes out' },
  setTimeout: { homes: ['src/base/timers.ts'], instead: 'afterMs or delayMs of src/base/timers.ts' },
  setInterval: { homes: ['src/base/timers.ts'], instead: 'everyMs of src/base/timers.ts' },
  'node:timers/promises': { homes: ['src/base/timers.ts'], instead: 'delayMs of src/base/timers.ts' },
  'Date.now': { homes: ['src/base/clock.ts'], instead: 'the Clock that the caller hands in' },
  'new Date()': { homes: ['src/base/clock.ts'], instead: 'the Clock that the caller hands in' },
  'process.env': { homes: ['src/config/', 'src/main.ts'], instead: 'a setting of src/config/schema.ts' },
  console: { homes: ['src/cli/'], instead: 'the logger' },
}

/** Words that say nothing, or that the vocabulary has another word for; in names of files and of declarations. */
export const BANNED_WORDS: Readonly<Record<string, string>> = {
  util: 'say what it does',
  utils: 'say what it does',
  helper: 'say what it does',
  helpers: 'say what it does',
  common: 'say what it is',
  manager: 'say what it does',
  service: 'say what it does',
  tenant: 'organization',
  uplink: 'upstream',
  scrub: 'verify',
}
/** Docker's token protocol has a service, of which it asks tokens; nothing else is called so. */
export const PROTOCOL_NAMES = /^service$|token[-_]?service/i

/** Modules whose exports are tested, but not by a file beside them. Each with the reason. */
export const TESTED_ELSEWHERE: Readonly<Record<string, string>> = {
  'src/main.ts': 'the process as a whole: test/real and test/crash start it',
  'src/app.ts': 'the wiring: test/pull-through and test/protocol start it',
}

export const UNFINISHED = /\b(?:TO[D]O|FIX[M]E|X[X]X)\b/
