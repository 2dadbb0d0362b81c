/** containerd with its own root and socket, and `ctr` to pull with. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { type Client, formatLogin, formatTarget, type PulledImage, type PullTarget } from './client.ts'
import { runCommand } from './command.ts'
import { startDaemon } from './daemon.ts'
import { getProgram } from './debian-packages.ts'
import { makeTemporaryFolder } from './temporary-folder.ts'

export async function startContainerd(): Promise<Client & { socket: string }> {
  const folder = await makeTemporaryFolder('ctrd')
  const inside = (name: string) => JSON.stringify(path.join(folder.path, name))
  const socket = path.join(folder.path, 'c.sock')
  const configFile = path.join(folder.path, 'config.toml')
  const config = [
    'version = 2',
    `root = ${inside('root')}`,
    `state = ${inside('state')}`,
    // Networks, and file systems that a test machine need not have.
    'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs",',
    '  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",',
    '  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]',
    '[grpc]',
    `address = ${inside('c.sock')}`,
  ]
  await writeFile(configFile, `${config.join('\n')}\n`)
  const ctr = (...args: string[]) => runCommand(getProgram('ctr'), ['--address', socket, ...args])
  const daemon = await startDaemon({
    command: getProgram('containerd'),
    args: ['--config', configFile],
    isReady: () => ctr('version').then(() => true),
  }).catch(async (error: unknown) => {
    await folder.remove()
    throw error
  })

  const pull = async (target: PullTarget): Promise<PulledImage> => {
    const login = target.login === undefined ? [] : ['--user', formatLogin(target.login)]
    const name = formatTarget(target)
    assert.equal((await ctr('content', 'ls', '--quiet')).trim(), '', 'the store must be empty')
    try {
      await ctr('images', 'pull', '--plain-http', ...login, name)
      const [, , topDigest] = lastLine(await ctr('images', 'ls', `name==${name}`)).split(/\s+/)
      const digests = (await ctr('content', 'ls', '--quiet')).trim().split('\n')
      return { topDigest, configDigest: undefined, diffIds: undefined, digests }
    } finally {
      await ctr('images', 'rm', '--sync', name)
    }
  }
  const stop = async () => {
    await daemon.stop()
    await folder.remove()
  }
  return { name: 'ctr', socket, pull, stop }
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? ''
}
