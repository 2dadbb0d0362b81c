/** Debian's docker-registry (distribution 2.8) as a real upstream: open, with htpasswd, or with a token service. */
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { stringify } from 'yaml'
import { runCommand } from './command.ts'
import { answers, findFreePort, startDaemon } from './daemon.ts'
import { getProgram } from './debian-packages.ts'
import { makeTemporaryFolder } from './temporary-folder.ts'
import type { TokenService } from './token-service.ts'

export type Login = { username: string; password: string }

export type DockerRegistryOptions =
  | { auth: 'none' }
  | { auth: 'htpasswd'; login: Login }
  | { auth: 'token'; token: Pick<TokenService, 'realm' | 'service' | 'issuer' | 'rootCertPem'> }

/** One request that reached the registry: `GET /v2/a/manifests/b 200`. */
export type RegistryRequest = { method: string; path: string; status: number }

export type DockerRegistry = {
  /** `127.0.0.1:port`; the same after `stop` and `start`. */
  host: string
  url: string
  /** Every request that was answered since the first start, or since `forgetRequests`. */
  requests(): Promise<RegistryRequest[]>
  forgetRequests(): Promise<void>
  /** Go down; what was pushed stays. */
  stop(): Promise<void>
  /** Come up again. */
  start(): Promise<void>
  /** Go down and remove everything. */
  remove(): Promise<void>
}

export async function startDockerRegistry(options: DockerRegistryOptions = { auth: 'none' }): Promise<DockerRegistry> {
  const folder = await makeTemporaryFolder('registry')
  const host = `127.0.0.1:${await findFreePort()}`
  const url = `http://${host}`
  const configFile = path.join(folder.path, 'config.yml')
  const storage = path.join(folder.path, 'storage')
  await mkdir(storage)
  await writeFile(
    configFile,
    stringify({
      version: 0.1,
      log: { level: 'warn', accesslog: { disabled: false } },
      storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true } },
      http: { addr: host, secret: 'only for tests' },
      ...(await authSection(options, folder.path)),
    }),
  )
  const launch = () =>
    startDaemon({
      command: getProgram('docker-registry'),
      args: ['serve', configFile],
      isReady: () => answers(`${url}/v2/`),
    })

  let daemon = await launch()
  let earlierOutput = ''
  let forgotten = 0
  const output = () => earlierOutput + (daemon.isRunning ? daemon.output : '')
  /** The log comes through a pipe: once a question of our own is in it, all earlier requests are. */
  let questions = 0
  const settledOutput = async (): Promise<string> => {
    const marker = `/v2/?question=${++questions}`
    if (daemon.isRunning) await answers(`${url}${marker}`)
    while (daemon.isRunning && !output().includes(marker)) await setImmediate()
    return output()
  }
  const stop = async () => {
    if (!daemon.isRunning) return
    const running = daemon
    await running.stop()
    earlierOutput += running.output
  }
  return {
    host,
    url,
    requests: async () => {
      const requests = parseAccessLog((await settledOutput()).slice(forgotten))
      return requests.filter((request) => !request.path.startsWith('/v2/?question='))
    },
    forgetRequests: async () => {
      forgotten = (await settledOutput()).length
    },
    stop,
    start: async () => {
      if (!daemon.isRunning) daemon = await launch()
    },
    remove: async () => {
      await stop()
      await folder.remove()
    },
  }
}

async function authSection(options: DockerRegistryOptions, folder: string): Promise<object> {
  switch (options.auth) {
    case 'none':
      return {}
    case 'htpasswd': {
      const file = path.join(folder, 'htpasswd')
      const { username, password } = options.login
      await writeFile(file, await runCommand(getProgram('htpasswd'), ['-Bbn', username, password]))
      return { auth: { htpasswd: { realm: 'registry', path: file } } }
    }
    case 'token': {
      const rootcertbundle = path.join(folder, 'token.pem')
      const { realm, service, issuer, rootCertPem } = options.token
      await writeFile(rootcertbundle, rootCertPem)
      return { auth: { token: { realm, service, issuer, rootcertbundle } } }
    }
    default:
      throw new Error(`unhandled authentication: ${options satisfies never}`)
  }
}

/** The Apache combined log format; distribution writes it to its standard output. */
function parseAccessLog(text: string): RegistryRequest[] {
  const lines = text.matchAll(/"([A-Z]+) (\S+) HTTP\/[\d.]+" (\d{3}) /g)
  return Array.from(lines, ([, method = '', target = '', status]) => ({ method, path: target, status: Number(status) }))
}
