/**
 * A warm 300 MB blob: throughput and processor seconds per GB, beside docker-registry (distribution 2.8), in turn, to
 * four clients at once that read and throw away.
 */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { stringify } from 'yaml'
import { sha256 } from '../test/fakes/content.ts'
import { answers, findFreePort, startDaemon } from '../test/real/daemon.ts'
import { RegistryWriter } from '../test/real/registry-writer.ts'
import { makeTemporaryFolder } from '../test/real/temporary-folder.ts'
import { drain, median, pull } from './client.ts'
import { addOrganization, cpuSeconds, serverCore, startEntrepot } from './rig.ts'

const blobBytes = 300e6
const rounds = 9
const connections = 4
const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'

export async function benchWarmBlob(): Promise<string[]> {
  const registry = await startPinnedRegistry()
  const digest = await pushImage(registry.origin)
  const entrepot = await startEntrepot()
  await addOrganization(entrepot, 'bench', registry.host)
  const headers = await entrepot.bearer('bench/app')
  await pull(`${entrepot.origin}/v2/bench/app/manifests/latest`, headers)
  const peers = [
    { name: 'distribution 2.8', url: `${registry.origin}/v2/app/blobs/${digest}`, pid: registry.pid },
    { name: 'entrepot', url: `${entrepot.origin}/v2/bench/app/blobs/${digest}`, pid: entrepot.daemon.pid },
  ].map((peer) => ({ ...peer, megabytesPerSecond: [] as number[], cpuPerGigabyte: [] as number[] }))
  // Twice before: the first pull fetches, the second verifies what is stored.
  for (let round = -2; round < rounds; round++) {
    for (const peer of peers) {
      const before = cpuSeconds(peer.pid)
      const startedMs = performance.now()
      // The first pull fetches, alone.
      const drains = Array.from({ length: round === -2 ? 1 : connections }, () => drain(peer.url, headers, blobBytes))
      await Promise.all(drains)
      const seconds = (performance.now() - startedMs) / 1000
      if (round < 0) continue
      peer.megabytesPerSecond.push((connections * blobBytes) / 1e6 / seconds)
      peer.cpuPerGigabyte.push((cpuSeconds(peer.pid) - before) / ((connections * blobBytes) / 1e9))
    }
  }
  await entrepot.stop()
  await registry.stop()
  const [theirs, ours] = peers
  if (theirs === undefined || ours === undefined) return []
  const ratio = (figure: 'megabytesPerSecond' | 'cpuPerGigabyte') =>
    median(ours[figure].map((value, round) => value / (theirs[figure][round] ?? Number.NaN))).toFixed(2)
  return [
    ...peers.map(
      ({ name, megabytesPerSecond, cpuPerGigabyte }) =>
        `${name}: ${Math.round(median(megabytesPerSecond))} MB/s, ${median(cpuPerGigabyte).toFixed(3)} CPU s/GB`,
    ),
    `throughput ${ratio('megabytesPerSecond')} of it in the same round, CPU ${ratio('cpuPerGigabyte')} of it`,
  ]
}

async function startPinnedRegistry() {
  const folder = await makeTemporaryFolder('registry')
  const host = `127.0.0.1:${await findFreePort()}`
  const origin = `http://${host}`
  const config = path.join(folder.path, 'config.yml')
  await writeFile(
    config,
    stringify({
      version: 0.1,
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: folder.path } },
      http: { addr: host },
    }),
  )
  const args = ['-c', serverCore, 'docker-registry', 'serve', config]
  const daemon = await startDaemon({ command: 'taskset', args, isReady: () => answers(`${origin}/v2/`) })
  return {
    host,
    origin,
    pid: daemon.pid,
    stop: async () => {
      await daemon.stop()
      await folder.remove()
    },
  }
}

async function pushImage(origin: string): Promise<string> {
  const writer = new RegistryWriter(origin)
  const layer = await writer.putBlob('app', randomBytes(blobBytes))
  const configBytes = Buffer.from('{"os":"linux","architecture":"amd64"}')
  const config = await writer.putBlob('app', configBytes)
  const descriptor = (mediaType: string, digest: string, size: number) => ({ mediaType, digest, size })
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: descriptor('application/vnd.oci.image.config.v1+json', config, configBytes.byteLength),
      layers: [descriptor('application/vnd.oci.image.layer.v1.tar', layer, blobBytes)],
    }),
  )
  await writer.putManifest('app', { digest: sha256(bytes), mediaType: OCI_MANIFEST, bytes }, ['latest'])
  return layer
}
