/** podman, each pull with stores of its own. */
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { type Client, formatLogin, formatTarget, type PulledImage, type PullTarget, parseInspection } from './client.ts'
import { runCommand, tryCommand } from './command.ts'
import { getProgram } from './debian-packages.ts'
import { makeTemporaryFolder } from './temporary-folder.ts'

export async function startPodman(): Promise<Client> {
  const folder = await makeTemporaryFolder('pod') // podman takes no runroot of more than 50 characters
  // Nothing of this machine's settings, and no networks: a pull needs none.
  const settings = {
    CONTAINERS_REGISTRIES_CONF: '[[registry]]\nlocation = "127.0.0.1"\ninsecure = true\n',
    CONTAINERS_CONF: `[network]\nnetwork_config_dir = "${folder.path}"\n`,
    REGISTRY_AUTH_FILE: '{"auths":{}}',
  }
  const env: Record<string, string> = {}
  for (const [name, text] of Object.entries(settings)) {
    const file = path.join(folder.path, name)
    await writeFile(file, text)
    env[name] = file
  }
  let pulls = 0

  const pull = async (target: PullTarget): Promise<PulledImage> => {
    const own = path.join(folder.path, String(++pulls))
    const stores = ['--root', `${own}/root`, '--runroot', `${own}/run`, '--storage-driver=overlay']
    const podman = (...args: string[]) => runCommand(getProgram('podman'), [...stores, ...args], { env })
    await mkdir(own)
    try {
      const login = target.login === undefined ? [] : ['--creds', formatLogin(target.login)]
      const id = await podman('pull', '--quiet', '--tls-verify=false', ...login, formatTarget(target))
      return parseInspection(await podman('image', 'inspect', id.trim()))
    } finally {
      // overlay leaves a mount on its own folder; when there is none, there is nothing to undo.
      await tryCommand(getProgram('umount'), [`${own}/root/overlay`])
      await runCommand(getProgram('rm'), ['-rf', '--one-file-system', own])
    }
  }
  return { name: 'podman', pull, stop: folder.remove }
}
