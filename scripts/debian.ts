/** Debian's packages for the real parts of the tests, installed where that is possible. */
import { spawnSync } from 'node:child_process'
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { DEBIAN_PACKAGES, type DebianPackage, skipUnless } from '../test/real/debian-packages.ts'

/** While it exists, no package starts its service: the tests start what they need on ports of their own. */
const POLICY_FILE = '/usr/sbin/policy-rc.d'

/** Elsewhere than on Debian as root this does nothing: the tests that need a missing package skip, by name. */
export function installDebianPackages(): void {
  const names = Object.keys(DEBIAN_PACKAGES) as DebianPackage[]
  const missing = names.filter((name) => skipUnless([name]) !== false)
  if (missing.length === 0) return
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) {
    process.stdout.write(`not installed, since this is not root on Debian: ${missing.join(', ')}\n`)
    return
  }
  process.stdout.write(`installing Debian packages: ${missing.join(', ')}\n`)
  const isOurs = !existsSync(POLICY_FILE)
  if (isOurs) writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    runApt(['update', '-q'])
    runApt(['install', '-q', '-y', '--no-install-recommends', ...missing])
  } finally {
    if (isOurs) rmSync(POLICY_FILE)
  }
}

function runApt(args: readonly string[]): void {
  const result = spawnSync('apt-get', args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
  if (result.status !== 0) throw new Error(`apt-get ${args.join(' ')} failed:\n${result.stdout}${result.stderr}`)
}
