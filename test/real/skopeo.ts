/** skopeo, which copies an image with all its platforms and keeps every byte. */
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { sha256 } from '../fakes/content.ts'
import { type Client, formatLogin, formatTarget, type PulledImage, type PullTarget } from './client.ts'
import { runCommand } from './command.ts'
import { getProgram } from './debian-packages.ts'
import { makeTemporaryFolder } from './temporary-folder.ts'

/** Besides content, a `dir:` has this. */
const VERSION_FILE = 'version'

export async function startSkopeo(): Promise<Client> {
  const pull = async (target: PullTarget): Promise<PulledImage> => {
    const folder = await makeTemporaryFolder('skopeo')
    try {
      const login = target.login === undefined ? [] : ['--src-creds', formatLogin(target.login)]
      const flags = ['--all', '--preserve-digests', '--src-tls-verify=false', ...login]
      const from = `docker://${formatTarget(target)}`
      await runCommand(getProgram('skopeo'), ['copy', '--quiet', ...flags, from, `dir:${folder.path}`])
      const names = (await readdir(folder.path)).filter((name) => name !== VERSION_FILE)
      const files = names.map(async (name) => ({ name, digest: await digestOf(path.join(folder.path, name)) }))
      const read = await Promise.all(files)
      return {
        topDigest: read.find(({ name }) => name === 'manifest.json')?.digest,
        configDigest: undefined,
        diffIds: undefined,
        digests: read.map(({ digest }) => digest),
      }
    } finally {
      await folder.remove()
    }
  }
  return { name: 'skopeo', pull, stop: async () => {} }
}

async function digestOf(file: string): Promise<string> {
  return sha256(await readFile(file))
}
