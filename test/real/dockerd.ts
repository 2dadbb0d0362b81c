/** The Docker engine with its own roots and socket, and the `docker` command to pull with. */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { type Client, formatTarget, type PulledImage, type PullTarget, parseInspection } from './client.ts'
import { runCommand, tryCommand } from './command.ts'
import { startDaemon } from './daemon.ts'
import { getProgram } from './debian-packages.ts'
import { makeTemporaryFolder } from './temporary-folder.ts'
import { basicAuthorization } from './token-service.ts'

export type DockerEngine = Client & {
  /** `unix://…`, for `DOCKER_HOST`. */
  address: string
}

/** `mirrors`: URLs for `registry-mirrors`. Errors: when the engine does not start here, with what it said. */
export async function startDockerd(options: { mirrors?: readonly string[] } = {}): Promise<DockerEngine> {
  const folder = await makeTemporaryFolder('dock')
  const inside = (name: string) => path.join(folder.path, name)
  const address = `unix://${inside('d.sock')}`
  const settings = { 'insecure-registries': ['127.0.0.0/8'], 'registry-mirrors': options.mirrors ?? [] }
  await writeFile(inside('daemon.json'), JSON.stringify(settings))
  await mkdir(inside('client'))
  const docker = (...args: string[]) =>
    runCommand(getProgram('docker'), ['--config', inside('client'), '--host', address, ...args])
  const flags = ['--config-file', inside('daemon.json'), '--iptables=false', '--ip6tables=false', '--bridge=none']
  flags.push('--storage-driver=overlay2', '--data-root', inside('data'), '--exec-root', inside('x'))
  flags.push('--pidfile', inside('pid'), '--host', address)
  const daemon = await startDaemon({
    command: getProgram('dockerd'),
    args: flags,
    isReady: () => docker('version').then(() => true),
  }).catch(async (error: unknown) => {
    await folder.remove()
    throw error
  })

  const pull = async (target: PullTarget): Promise<PulledImage> => {
    const { login, host } = target
    // `docker login` would ask the registry first; it leaves this file.
    const auth = login === undefined ? {} : { [host]: { auth: basicAuthorization(login).replace('Basic ', '') } }
    await writeFile(inside('client/config.json'), JSON.stringify({ auths: auth }))
    const name = formatTarget(target)
    assert.equal((await docker('image', 'ls', '--all', '--quiet')).trim(), '', 'the store must be empty')
    try {
      await docker('pull', '--quiet', name)
      return parseInspection(await docker('image', 'inspect', name))
    } finally {
      await tryCommand(getProgram('docker'), ['--host', address, 'image', 'rm', '--force', name])
    }
  }
  const stop = async () => {
    await daemon.stop()
    await tryCommand(getProgram('umount'), ['--recursive', inside('data')])
    await folder.remove()
  }
  return { name: 'docker', address, pull, stop }
}
