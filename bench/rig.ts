/** What the benchmarks start: Entrepot on one core, its upstreams, references and loads on the other. */

import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { answers, type Daemon, findFreePort, startDaemon } from '../test/real/daemon.ts'
import { makeTemporaryFolder } from '../test/real/temporary-folder.ts'

/** The server under measure and its references, in turn, have this core; loads and upstreams the other. */
export const serverCore = '0'
export const loadCore = '1'

/** Keep this process, which loads and reads, off the server's core. */
export function leaveServerCore(): void {
  const { status, stderr } = spawnSync('taskset', ['-a', '-c', '-p', loadCore, String(process.pid)])
  if (status !== 0) throw new Error(`cannot leave the server's core: ${stderr}`)
}

const main = path.join(import.meta.dirname, '..', 'src', 'main.ts')
const slowUpstream = path.join(import.meta.dirname, 'slow-upstream.ts')
const password = 'correct horse battery staple'

export type Entrepot = {
  origin: string
  daemon: Daemon
  api(method: string, path: string, body?: unknown): Promise<void>
  /** A registry token for one repository, as a header. */
  bearer(repository: string): Promise<Record<string, string>>
  stop(): Promise<void>
}

export async function startEntrepot(settings: Record<string, string> = {}): Promise<Entrepot> {
  const folder = await makeTemporaryFolder('bench')
  const port = await findFreePort()
  const origin = `http://127.0.0.1:${port}`
  const env = {
    PORT: String(port),
    ENTREPOT_DATA: path.join(folder.path, 'data'),
    ENTREPOT_SSRF_ALLOWED_HOSTS: '["127.0.0.0/8"]',
    ENTREPOT_METRICS_PORT: String(await findFreePort()),
    ...settings,
  }
  // Its lines go through a pipe to a reader on the other core, which costs next to nothing.
  const serve = 'exec taskset -c "$0" "$2" "$3" serve > >(exec taskset -c "$1" cat > /dev/null)'
  const args = ['-c', serve, serverCore, loadCore, process.execPath, main]
  const isReady = () => answers(`${origin}/health/instance`)
  const daemon = await startDaemon({ command: 'bash', args, env, isReady })
  let authorization = ''
  const send = async (method: string, url: string, body?: unknown): Promise<Response> => {
    const response = await fetch(origin + url, {
      method,
      headers: { 'content-type': 'application/json', ...(authorization === '' ? {} : { authorization }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`)
    return response
  }
  const first = { username: 'admin', password, email: 'admin@example.com', access_token: true }
  await send('POST', '/api/v1/user/initialize', first)
  authorization = `Basic ${Buffer.from(`admin:${password}`).toString('base64')}`
  return {
    origin,
    daemon,
    api: async (method, url, body) => void (await send(method, url, body)),
    bearer: async (repository) => {
      const answer = await send('GET', `/v2/auth?service=bench&scope=repository:${repository}:pull`)
      const { token } = (await answer.json()) as { token: string }
      return { authorization: `Bearer ${token}` }
    },
    stop: async () => {
      await daemon.stop()
      await folder.remove()
    },
  }
}

export async function addOrganization(
  entrepot: Entrepot,
  name: string,
  upstream: string,
  policy: Record<string, unknown> = {},
): Promise<void> {
  await entrepot.api('POST', '/api/v1/organization/', { name, email: `${name}@example.com` })
  const proxy = { upstream_registry: upstream, insecure: true, expiration_s: 86_400 }
  await entrepot.api('POST', `/api/v1/organization/${name}/proxycache`, proxy)
  if (Object.keys(policy).length > 0) await entrepot.api('PUT', `/api/v1/organization/${name}`, policy)
}

export type SlowUpstream = { host: string; origin: string; transcript(): Promise<string[]>; stop(): void }

/** `images`: name to the sizes of its layers. */
export async function startSlowUpstream(
  bytesPerSecond: number,
  latencyMs: number,
  images: Record<string, number[]>,
): Promise<SlowUpstream> {
  const specs = Object.entries(images).map(([name, sizes]) => `${name}=${sizes.join(',')}`)
  const args = ['-c', loadCore, process.execPath, slowUpstream, String(bytesPerSecond), String(latencyMs), ...specs]
  const child = spawn('taskset', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: child.stdout })) {
    const { port } = JSON.parse(line) as { port: number }
    const origin = `http://127.0.0.1:${port}`
    return {
      host: `127.0.0.1:${port}`,
      origin,
      transcript: async () => (await (await fetch(`${origin}/transcript`)).json()) as string[],
      stop: () => void child.kill(),
    }
  }
  throw new Error('the slow upstream ended at once')
}

/** Seconds of processor time that a process has used so far. Source: proc(5), fields 14 and 15 of stat. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticksPerSecond = 100
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024
}
