/**
 * Builds the container image and runs it with podman, as root: not root inside, read-only, healthy, writing to its
 * volume only, stopping in time. Its base is made on the spot with debootstrap under the base's name, in a storage
 * of its own.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type CommandResult, runCommand, tryCommand } from '../test/real/command.ts'
import { getProgram, skipUnless } from '../test/real/debian-packages.ts'
import { makeTemporaryFolder } from '../test/real/temporary-folder.ts'

const root = path.dirname(import.meta.dirname)
const base = 'docker.io/library/debian:bookworm-slim'
/** Kept between runs: making it takes a minute, and it says nothing about us. */
const baseArchive = path.join(root, '.cache', 'debian-bookworm-minbase.tar')
const uid = '10001'
const buildMsMax = 900_000
const healthyTriesMax = 120
/** As TimeoutStopSec of the systemd unit; podman kills after it, which the exit code shows. */
const stopSeconds = 45

/** What podman needs in a small virtual machine. */
const containersConf = `[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[containers]
netns = "host"
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
`

const reason = skipUnless(['podman', 'debootstrap', 'runc', 'conmon'], { asRoot: true })
if (reason !== false) {
  process.stderr.write(`test-image: ${reason}\n`)
  process.exit(1)
}

const folder = await makeTemporaryFolder('image')
const env = { CONTAINERS_CONF: path.join(folder.path, 'containers.conf'), TMPDIR: folder.path }

function podman(args: readonly string[], msMax = buildMsMax): Promise<CommandResult> {
  const storage = ['--root', path.join(folder.path, 'root'), '--runroot', path.join(folder.path, 'run')]
  return tryCommand(getProgram('podman'), [...storage, '--storage-driver=overlay', ...args], { env, msMax })
}

async function runPodman(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await podman(args)
  assert.equal(code, 0, `podman ${args.join(' ')} ended with ${code}:\n${stdout}${stderr}`)
  return stdout.trim()
}

function say(sentence: string): void {
  process.stdout.write(`test-image: ${sentence}\n`)
}

async function makeBase(): Promise<void> {
  if (!existsSync(baseArchive)) {
    say('making the base with debootstrap')
    const rootFolder = path.join(folder.path, 'base')
    const options = ['--variant=minbase', '--include=ca-certificates', 'bookworm', rootFolder]
    await runCommand(getProgram('debootstrap'), options, { msMax: buildMsMax })
    await mkdir(path.dirname(baseArchive), { recursive: true })
    const draft = `${baseArchive}.${process.pid}`
    await runCommand('tar', ['-C', rootFolder, '--exclude=./dev/*', '--exclude=./var/cache/apt/*', '-cf', draft, '.'])
    await rename(draft, baseArchive)
  }
  await runPodman(['import', baseArchive, base])
}

async function build(): Promise<void> {
  say('building the image')
  const certificates = process.env['NODE_EXTRA_CA_CERTS']
  const trust = certificates
    ? ['--volume', `${certificates}:/ca.crt:ro`, '--build-arg', 'NODE_EXTRA_CA_CERTS=/ca.crt']
    : []
  const options = ['--format=docker', '--isolation=chroot', '--network=host', '--pull=never', ...trust]
  await runPodman(['build', ...options, '--tag', 'entrepot', root])
}

async function findFreePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function start(): Promise<void> {
  const settings = { HOST: '127.0.0.1', PORT: `${await findFreePort()}`, ENTREPOT_METRICS_PORT: '0' }
  const variables = Object.entries(settings).flatMap(([name, value]) => ['--env', `${name}=${value}`])
  const readOnly = ['--read-only', '--read-only-tmpfs=false', '--cap-drop=all', '--security-opt=no-new-privileges']
  await runPodman(['run', '--detach', '--name=entrepot', ...readOnly, '--volume=data:/data', ...variables, 'entrepot'])
}

/** By the image's own health check, which is what an orchestrator asks. */
async function waitUntilHealthy(): Promise<void> {
  for (let tries = 0; tries < healthyTriesMax; tries++) {
    if ((await podman(['healthcheck', 'run', 'entrepot'])).code === 0) return
    if ((await runPodman(['inspect', '--format={{.State.Status}}', 'entrepot'])) !== 'running') break
    await delay(500)
  }
  const logs = await podman(['logs', 'entrepot'])
  assert.fail(`it did not become healthy:\n${logs.stdout}${logs.stderr}`)
}

async function checkInside(): Promise<void> {
  const inside = (command: string) => podman(['exec', 'entrepot', 'sh', '-c', command])
  assert.equal((await inside('id -u; id -g')).stdout.trim(), `${uid}\n${uid}`)
  assert.equal((await inside("awk '/^Uid/ {print $2}' /proc/1/status")).stdout.trim(), uid)
  for (const place of ['/opt/entrepot', '/tmp', '/etc', '/var/tmp', '/run', '/home']) {
    const written = await inside(`touch ${place}/written`)
    assert.notEqual(written.code, 0, `${place} can be written`)
  }
  assert.equal((await inside('touch /data/written && rm /data/written')).code, 0, '/data cannot be written')
  assert.equal((await inside('stat -c %a /data/secret.key')).stdout.trim(), '600')
  assert.match((await inside('entrepot --version')).stdout, /^\d+\.\d+\.\d+/)
}

async function stop(): Promise<void> {
  await runPodman(['stop', `--time=${stopSeconds}`, 'entrepot'])
  assert.equal(await runPodman(['inspect', '--format={{.State.ExitCode}}', 'entrepot']), '0')
}

try {
  await writeFile(env.CONTAINERS_CONF, containersConf)
  await makeBase()
  await build()
  say('running it')
  await start()
  await waitUntilHealthy()
  await checkInside()
  await stop()
  say('starting it again on the same volume')
  await runPodman(['start', 'entrepot'])
  await waitUntilHealthy()
  await stop()
  say('passed')
} finally {
  await podman(['rm', '--force', '--time=1', 'entrepot'])
  await podman(['rmi', '--all', '--force'])
  await folder.remove()
}
