/**
 * Warm manifests by digest with a bearer token, requests per second on one core, beside nginx serving the same bytes.
 */
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { runCommand } from '../test/real/command.ts'
import { answers, findFreePort, startDaemon } from '../test/real/daemon.ts'
import { makeTemporaryFolder } from '../test/real/temporary-folder.ts'
import { get, median } from './client.ts'
import { addOrganization, loadCore, serverCore, startEntrepot, startSlowUpstream } from './rig.ts'

const rounds = 7
const secondsPerRound = 4
const connections = 32

export async function benchManifests(): Promise<string[]> {
  const upstream = await startSlowUpstream(1e9, 0, { app: [1000, 1000, 1000, 1000, 1000] })
  const entrepot = await startEntrepot()
  await addOrganization(entrepot, 'bench', upstream.host, { revalidate_after_s: 3600 })
  const headers = await entrepot.bearer('bench/app')
  const byTag = `${entrepot.origin}/v2/bench/app/manifests/latest`
  const { body } = await get(byTag, headers)
  const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`
  const byDigest = `${entrepot.origin}/v2/bench/app/manifests/${digest}`
  if ((await get(byDigest, headers)).status !== 200) throw new Error('the manifest is not held')
  const nginx = await startNginx(body)

  const peers = [
    { name: 'nginx, the same bytes as a file', url: nginx.url, figures: [] as number[] },
    { name: 'warm manifest by digest', url: byDigest, figures: [] as number[] },
    { name: 'warm manifest by tag inside revalidate_after_s', url: byTag, figures: [] as number[] },
  ]
  // Once before: code is compiled as it is used.
  for (let round = -1; round < rounds; round++) {
    for (const { url, figures } of peers) {
      const requestsPerSecond = await load(url, headers)
      if (round >= 0) figures.push(requestsPerSecond)
    }
  }
  await nginx.stop()
  await entrepot.stop()
  upstream.stop()
  const reference = peers[0]?.figures ?? []
  return peers.map(({ name, figures }) => {
    const ratio = median(figures.map((figure, round) => figure / (reference[round] ?? Number.NaN)))
    return `${name}: ${Math.round(median(figures))} requests/s, ${ratio.toFixed(2)} of nginx in the same round`
  })
}

/** Requests per second, as wrk counts them; any answer but 2xx fails the run. */
async function load(url: string, headers: Record<string, string>): Promise<number> {
  const sent = { ...headers, accept: 'application/vnd.oci.image.manifest.v1+json', 'user-agent': 'bench' }
  const flags = Object.entries(sent).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
  const args = ['-c', loadCore, 'wrk', '-t1', `-c${connections}`, `-d${secondsPerRound}s`, ...flags, url]
  const output = await runCommand('taskset', args)
  if (output.includes('Non-2xx')) throw new Error(output)
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(output)?.[1])
}

async function startNginx(bytes: Buffer): Promise<{ url: string; stop(): Promise<void> }> {
  const folder = await makeTemporaryFolder('nginx')
  const port = await findFreePort()
  await writeFile(path.join(folder.path, 'manifest'), bytes, { mode: 0o644 })
  const config = path.join(folder.path, 'nginx.conf')
  await writeFile(
    config,
    `daemon off; worker_processes 1; pid ${folder.path}/pid; error_log /dev/null;
     events { worker_connections 1024; }
     http { access_log off; keepalive_requests 1000000000; default_type application/vnd.oci.image.manifest.v1+json;
       client_body_temp_path ${folder.path}/1; proxy_temp_path ${folder.path}/2; fastcgi_temp_path ${folder.path}/3;
       uwsgi_temp_path ${folder.path}/4; scgi_temp_path ${folder.path}/5;
       server { listen 127.0.0.1:${port}; root ${folder.path}; } }`,
  )
  const url = `http://127.0.0.1:${port}/manifest`
  const args = ['-c', serverCore, 'nginx', '-c', config]
  const daemon = await startDaemon({ command: 'taskset', args, isReady: () => answers(url) })
  return {
    url,
    stop: async () => {
      await daemon.stop()
      await folder.remove()
    },
  }
}
