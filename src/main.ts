#!/usr/bin/env node
/** Where the process starts: the command line, and the server with its signals. */
import type { ServeOptions } from './cli/program.ts'
import type { RotateSecrets } from './cli/secrets-command.ts'
import type { Config } from './config/load.ts'

const nodeMajorMin = 26
/** Beyond the grace of running pulls: what closing the rest may take before the process ends all the same. */
const closeMsMax = 10_000

// Everything else is loaded after this check: an older Node would fail in the middle of it, and say less.
if (Number(process.versions.node.split('.')[0]) < nodeMajorMin) {
  process.stderr.write(
    `entrepot: Node ${process.versions.node} is too old, ${nodeMajorMin} is needed: run \`npm start\` or bin/entrepot, ` +
      'which bring their own\n',
  )
  process.exit(1)
}

const { readFile } = await import('node:fs/promises')
const { openTerminal } = await import('./cli/terminal.ts')
const { runProgram } = await import('./cli/program.ts')
const { CommandFailure } = await import('./cli/failure.ts')
const { afterMs } = await import('./base/timers.ts')
const { ConfigError, isLoopbackHost, loadConfig } = await import('./config/load.ts')

const manifest: { version: string } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
process.exitCode = await runProgram(process.argv.slice(2), {
  terminal: openTerminal(process.env),
  version: manifest.version,
  serve,
  rotateSecrets,
})

async function serve(options: ServeOptions): Promise<void> {
  const config = readConfig('the server does not start')
  if (options.testClock !== undefined && !isLoopbackHost(config.host)) {
    throw new CommandFailure('usage', '--test-clock needs a loopback HOST, such as 127.0.0.1')
  }
  const app = await start(config, options)
  process.stderr.write(`entrepot: serving ${app.url}, metrics on ${app.metricsUrl}\n`)
  if (app.setupToken !== undefined) {
    process.stderr.write(
      'entrepot: there is no user yet: run bin/entrepot user create NAME on this machine, ' +
        `or from elsewhere with the set-up token ${app.setupToken}\n`,
    )
  }
  await stopSignal()
  process.stderr.write('entrepot: stopping; a second signal ends it at once\n')
  afterMs(config.shutdownGraceMs + closeMsMax, () => process.exit(1))
  await app.close()
}

async function rotateSecrets(request: Parameters<RotateSecrets>[0]) {
  const config = readConfig('no secret was touched')
  return (await import('./rotate-secrets.ts')).rotateSecrets(config, request)
}

function readConfig(consequence: string): Config {
  try {
    const config = loadConfig({ env: process.env })
    for (const notice of config.notices) process.stderr.write(`entrepot: ${notice}\n`)
    return config
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    for (const mistake of error.mistakes) process.stderr.write(`entrepot: ${mistake}\n`)
    throw new CommandFailure('refused', `${error.message}; ${consequence}`)
  }
}

async function start(config: Config, options: ServeOptions) {
  const { startApp } = await import('./app.ts')
  try {
    return await startApp(config, options.testClock === undefined ? {} : { testClockFile: options.testClock })
  } catch (error) {
    const hint = {
      EADDRINUSE: 'another program listens there: stop it, or set PORT (or METRICS_PORT) to another',
      EACCES: 'this user may not: see PORT (below 1024 is reserved) and ENTREPOT_DATA',
    }[String((error as NodeJS.ErrnoException).code)]
    const reason = error instanceof Error ? error.message : 'unknown error'
    throw new CommandFailure('refused', `cannot start: ${reason}`, { hint, cause: error })
  }
}

/** Resolves at the first signal to stop; the second one ends the process. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let isStopping = false
    const onSignal = () => {
      if (isStopping) process.exit(1)
      isStopping = true
      resolve()
    }
    process.on('SIGTERM', onSignal).on('SIGINT', onSignal)
  })
}
