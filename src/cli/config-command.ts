/** `entrepot config`: whether a configuration can be used, without starting anything. */
import type { Command } from 'commander'
import { ConfigError, type Environment, loadConfig } from '../config/load.ts'
import { CommandFailure } from './failure.ts'
import { report, type Terminal } from './terminal.ts'

export function addConfigCommand(program: Command, terminal: Terminal): void {
  const config = program.command('config').description('check a configuration file')
  config
    .command('check')
    .argument('[file]', 'the file; without it, what `serve` would use, the environment included')
    .description('print every mistake of a configuration, and what has no effect')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      '\nExit codes: 0 it can be used, 1 it cannot.\n\nExample:\n  entrepot config check /etc/entrepot/config.yaml',
    )
    .action((file: string | undefined, options: { json?: true }) => checkConfig(file, options, terminal))
}

function checkConfig(file: string | undefined, options: { json?: true }, terminal: Terminal): void {
  const { mistakes, notices } = findMistakes(file === undefined ? terminal.env : { ENTREPOT_CONFIG: file })
  report(terminal, options.json, { mistakes, notices }, [
    ...mistakes.map((mistake) => `mistake: ${mistake}`),
    ...notices.map((notice) => `notice:  ${notice}`),
    ...(mistakes.length === 0 ? ['The configuration can be used.'] : []),
  ])
  if (mistakes.length > 0) throw new CommandFailure('refused', describeCount(mistakes.length))
}

function findMistakes(env: Environment): { mistakes: readonly string[]; notices: readonly string[] } {
  try {
    return { mistakes: [], notices: loadConfig({ env }).notices }
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
}

function describeCount(count: number): string {
  return `the configuration cannot be used: it has ${count === 1 ? 'a mistake' : `${count} mistakes`}`
}
