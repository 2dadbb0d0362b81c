/** The `entrepot` command line, run in this process as the superuser of a started server. */
import assert from 'node:assert/strict'
import { runProgram } from '../../src/cli/program.ts'

/** What `args` say of `--server` and `--user` goes before. `answer`: what a person types when asked. */
export async function runCommand(
  origin: string,
  args: readonly string[],
  answer?: string,
): Promise<{ code: number; out: string; err: string }> {
  const ran = { out: '', err: '' }
  const usual = [
    ['--server', origin],
    ['--user', 'admin'],
  ].filter(([option = '']) => !args.includes(option))
  const code = await runProgram([...args, ...usual.flat()], {
    version: '0',
    serve: () => assert.fail(),
    delayMs: () => new Promise((resolve) => setImmediate(resolve)),
    terminal: {
      env: { ENTREPOT_PASSWORD: 'correct horse battery' },
      writeOut: (text) => {
        ran.out += text
      },
      writeError: (text) => {
        ran.err += text
      },
      readSecret: () => Promise.resolve(undefined),
      isWatched: false,
      readAnswer: () => Promise.resolve(answer),
      onInterrupt: () => () => undefined,
      close: () => undefined,
    },
  })
  return { code, ...ran }
}
