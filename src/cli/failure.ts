/** How a command fails: what it says, and the exit code that scripts can tell apart. */

export const EXIT_CODES = {
  done: 0,
  /** The server, or the command itself, refused. */
  refused: 1,
  /** The command line is wrong. */
  usage: 2,
  /** The server could not be reached, or did not answer as one. */
  unreachable: 3,
} as const

/** A command's failure. `message` is one sentence, `hint` what to do next; neither holds a secret. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure'
  readonly kind: Exclude<keyof typeof EXIT_CODES, 'done'>
  readonly hint: string | undefined
  /** The HTTP status, when the server refused. */
  readonly status: number | undefined

  constructor(
    kind: Exclude<keyof typeof EXIT_CODES, 'done'>,
    message: string,
    options: { hint?: string | undefined; status?: number; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause })
    this.kind = kind
    this.hint = options.hint
    this.status = options.status
  }
}
