/** Programs that run to their end. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'

export type CommandOptions = { env?: Record<string, string>; input?: string; msMax?: number }
export type CommandResult = { code: number | null; stdout: string; stderr: string }

const MS_MAX = 180_000

/** Run a program to its end, whatever its exit code. It is killed after `msMax`. */
export async function tryCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const child = spawn(command, args, {
    env: { ...process.env, ...options.env },
    stdio: 'pipe',
    timeout: options.msMax ?? MS_MAX,
    killSignal: 'SIGKILL',
  })
  const closed = once(child, 'close')
  child.stdin.on('error', () => {}) // It may end without reading: its exit code tells.
  child.stdin.end(options.input ?? '')
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), closed])
  return { code: child.exitCode, stdout, stderr }
}

/** As `tryCommand`; resolves to the standard output. Errors: with what it said, when it fails. */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const result = await tryCommand(command, args, options)
  if (result.code === 0) return result.stdout
  throw new Error(`${command} ${args.join(' ')} ended with ${result.code}:\n${result.stderr}${result.stdout}`)
}
