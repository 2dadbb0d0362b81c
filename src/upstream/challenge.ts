/** `WWW-Authenticate`: what an upstream wants to be asked with. */

/** Scheme and parameter names are lower-case; values are as sent. */
export type Challenge = { scheme: string; parameters: ReadonlyMap<string, string> }

/** A header that says more than this is not a registry's. */
const challengesMax = 16
const charactersMax = 16_384

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y
const TOKEN68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y
const QUOTED = /"((?:[^"\\]|\\[\s\S])*)"/y
const EQUALS = /[ \t]*=[ \t]*/y
const COMMAS = /[ \t]*(?:,[ \t]*)*/y
const SPACES = /[ \t]+/y

/**
 * The challenges of a header, in order; what cannot be read is left out, and nothing is ever thrown.
 * Source: RFC 9110, 11.6.1. A comma separates parameters as well as challenges; a scheme is a token without `=`.
 */
export function parseChallenges(header: string | string[] | undefined): Challenge[] {
  const lines = header === undefined ? [] : Array.isArray(header) ? header : [header]
  return lines.flatMap(parseLine).slice(0, challengesMax)
}

function parseLine(line: string): Challenge[] {
  const text = line.slice(0, charactersMax)
  const challenges: Challenge[] = []
  let position = 0
  const read = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = position
    const match = pattern.exec(text)
    if (match !== null) position = pattern.lastIndex
    return match
  }

  read(COMMAS)
  while (position < text.length && challenges.length < challengesMax) {
    const scheme = read(TOKEN)
    if (scheme === null) return challenges // Not a token: nothing after it can be trusted to be one either.
    const parameters = new Map<string, string>()
    challenges.push({ scheme: scheme[0].toLowerCase(), parameters })
    if (read(SPACES) === null) {
      if (separated(read)) continue
      return challenges
    }
    readParameters(text, read, parameters, () => position)
    read(COMMAS)
  }
  return challenges
}

function separated(read: (pattern: RegExp) => RegExpExecArray | null): boolean {
  return (read(COMMAS)?.[0] ?? '') !== ''
}

/** Read `name=value` pairs until something is not one: the next scheme, or the end. */
function readParameters(
  text: string,
  read: (pattern: RegExp) => RegExpExecArray | null,
  parameters: Map<string, string>,
  position: () => number,
): void {
  while (position() < text.length) {
    if (!startsParameter(text, position())) {
      if (parameters.size === 0) read(TOKEN68)
      return
    }
    const name = read(TOKEN)?.[0].toLowerCase() ?? ''
    read(EQUALS)
    const quoted = read(QUOTED)
    const value = quoted === null ? read(TOKEN)?.[0] : (quoted[1] ?? '').replace(/\\([\s\S])/g, '$1')
    if (value === undefined) return
    if (!parameters.has(name)) parameters.set(name, value) // The first one counts: a later one cannot replace a realm.
    if (!separated(read)) return
  }
}

/** `name=` with a value after it; a token68 such as `dGVzdA==` has none. */
function startsParameter(text: string, position: number): boolean {
  const pattern = /[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*=[ \t]*[^ \t=,]/y
  pattern.lastIndex = position
  return pattern.test(text)
}
