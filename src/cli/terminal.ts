/** Where a command reads and writes, so that tests can stand in for it. */
import { createInterface, type Interface } from 'node:readline'
import { Writable } from 'node:stream'
import { CommandFailure } from './failure.ts'

export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>
  writeOut(text: string): void
  writeError(text: string): void
  /**
   * A secret: typed unseen at a terminal, where `question` is shown, or else the next line of standard input.
   * Undefined when the input has ended.
   */
  readSecret(question: string): Promise<string | undefined>
  /** Whether a person reads what `writeError` writes, and can be shown a line that is written again and again. */
  readonly isWatched: boolean
  /** A line typed at a terminal, where `question` is shown. Undefined when nobody is there to answer. */
  readAnswer(question: string): Promise<string | undefined>
  /** Call `work` instead of ending when the user interrupts; until the returned function is called. */
  onInterrupt(work: () => void): () => void
  close(): void
}

/** Longest secret; a JSON key of a cloud account fits. */
const secretCharactersMax = 64 * 1024

/** The process's own terminal. */
export function openTerminal(env: Terminal['env']): Terminal {
  let lines: AsyncIterator<string> | undefined
  let lineReader: Interface | undefined
  return {
    env,
    writeOut: (text) => process.stdout.write(text),
    writeError: (text) => process.stderr.write(text),
    async readSecret(question) {
      if (process.stdin.isTTY) return await askUnseen(question)
      lineReader ??= createInterface({ input: process.stdin })
      lines ??= lineReader[Symbol.asyncIterator]()
      const line = await lines.next()
      if (line.done) return undefined
      if (line.value.length > secretCharactersMax) throw new CommandFailure('usage', 'the secret is too long')
      return line.value
    },
    isWatched: process.stderr.isTTY === true,
    readAnswer,
    onInterrupt(work) {
      process.on('SIGINT', work)
      return () => process.off('SIGINT', work)
    },
    close: () => lineReader?.close(),
  }
}

async function readAnswer(question: string): Promise<string | undefined> {
  if (!process.stdin.isTTY) return undefined
  const reader = createInterface({ input: process.stdin, output: process.stderr })
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  reader.once('close', () => resolve(undefined))
  reader.once('SIGINT', () => reader.close())
  reader.question(question, resolve)
  const answer = await promise
  reader.close()
  return answer
}

async function askUnseen(question: string): Promise<string | undefined> {
  process.stderr.write(`${question}: `)
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const reader = createInterface({ input: process.stdin, output: nowhere, terminal: true })
  try {
    return await new Promise((resolve, reject) => {
      reader.once('line', resolve)
      reader.once('close', () => resolve(undefined))
      reader.once('SIGINT', () => reject(new CommandFailure('refused', 'interrupted')))
    })
  } finally {
    reader.close()
    process.stderr.write('\n')
  }
}

/** Text from outside without what would move the cursor, recolour the terminal or reorder what is read. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, ' ')
}

/** Prints a command's result: the lines for people, or with `--json` the result for programs. */
export function report(
  terminal: Terminal,
  asJson: boolean | undefined,
  result: object,
  lines: readonly string[],
): void {
  terminal.writeOut(asJson ? `${JSON.stringify(result)}\n` : lines.map((line) => `${printable(line)}\n`).join(''))
}
