/** The misbehaviours that a fake upstream can be told, at any time and for some paths only. */
import type { Gate, Valve } from './gate.ts'

/** All that match a request apply together; of those that contradict each other the latest added wins. */
export type Quirks = {
  /** Reset the connection instead of answering. */
  reset?: true
  /** Wait before the headers: for the gate, or for ever. */
  hangBeforeHeaders?: Gate | true
  /** Send so many bytes of the body, then nothing until the gate opens, or ever. */
  hangMidBodyAt?: number | { bytes: number; gate: Gate }
  /** The body flows only as the valve allows. */
  valve?: Valve
  bytesPerSecond?: number
  latencyMs?: number

  /** Answer so, with a body in the spec's JSON. */
  status?: number
  /** The error's code, beside `status`. */
  code?: string
  /** `Retry-After`, beside `status`. */
  retryAfter?: string
  /** Answer 200 and a page of HTML. */
  htmlInsteadOfJson?: true
  /** Answer 307 to here; a function gets the path and query of the request. */
  redirectTo?: string | ((target: string) => string)
  /** Answer 307 to the same address, for ever. */
  redirectLoop?: true

  omitDigestHeader?: true
  /** `Docker-Content-Digest` says this instead. */
  digestHeader?: string
  contentType?: string
  charsetInContentType?: true
  /** Chunked transfer encoding. */
  omitContentLength?: true
  ignoreRange?: true
  headers?: Readonly<Record<string, string>>

  /** The body is so much longer (or, negative, shorter) than the content, and `Content-Length` with it. */
  lengthDelta?: number
  /** `Content-Length` alone is so much more than what follows. */
  contentLengthDelta?: number
  /** One byte of the content is another: the one at this position, or from the end if negative. */
  wrongByteAt?: number
  /** Nothing of the content from this byte on is ever sent: the connection breaks there. */
  truncateBlobAt?: number
  /** Each answer breaks after so many bytes. */
  cutEvery?: number
  /** `truncateBlobAt` and `cutEvery` break only when this opens. */
  breakWhen?: Gate
  /** A manifest of so many bytes, made while it is sent. */
  hugeManifestBytes?: number

  noReferrersApi?: true
  /** Tags are given so many at a time, with `Link`. */
  tagPages?: number
}

type Rule = { method: string | undefined; path: RegExp; quirks: Quirks; left: number }

export class QuirkTable {
  #rules: Rule[] = []

  /**
   * Add quirks for `pattern`: `[METHOD ]PATH`, where `*` in the path stands for anything. `times`: for so many requests
   * only. The returned function removes them.
   */
  add(pattern: string, quirks: Quirks, times: number = Number.POSITIVE_INFINITY): () => void {
    const [method, path] = pattern.includes(' ') ? pattern.split(' ', 2) : [undefined, pattern]
    const source = (path ?? '*').split('*').map(RegExp.escape).join('.*')
    const rule: Rule = { method, path: new RegExp(`^${source}$`), quirks, left: times }
    this.#rules.push(rule)
    return () => {
      this.#rules = this.#rules.filter((other) => other !== rule)
    }
  }

  clear(): void {
    this.#rules = []
  }

  /** The quirks of one request, which counts as one time for each of them. */
  take(method: string, path: string): Quirks {
    const found: Quirks = {}
    for (const rule of this.#rules) {
      if (rule.left <= 0 || (rule.method !== undefined && rule.method !== method) || !rule.path.test(path)) continue
      rule.left -= 1
      Object.assign(found, rule.quirks)
    }
    return found
  }
}
