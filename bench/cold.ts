/** Cold pulls through an upstream at 50 MB/s and 25 ms, beside the same pull straight from it. */
import { median, pull, pullImage } from './client.ts'
import { addOrganization, residentBytes, startEntrepot, startSlowUpstream } from './rig.ts'

const bytesPerSecond = 50e6
const latencyMs = 25
const MB = 1e6
const rounds = 3

/** 300 MB in one layer, by one client. */
export async function benchColdPull(): Promise<string[]> {
  const names = Array.from({ length: rounds }, (_, round) => `big${round}`)
  const images = Object.fromEntries(names.map((name) => [name, [300 * MB]]))
  const upstream = await startSlowUpstream(bytesPerSecond, latencyMs, images)
  const entrepot = await startEntrepot()
  await addOrganization(entrepot, 'bench', upstream.host)
  const direct: number[] = []
  const cold: number[] = []
  for (const name of names) {
    direct.push(await pullImage(upstream.origin, name, {}))
    cold.push(await pullImage(entrepot.origin, `bench/${name}`, await entrepot.bearer(`bench/${name}`)))
  }
  await entrepot.stop()
  upstream.stop()
  const ratio = median(cold.map((ms, round) => ms / (direct[round] ?? Number.NaN)))
  return [
    `straight from the upstream: ${(median(direct) / 1000).toFixed(2)} s; cold through entrepot: ${(median(cold) / 1000).toFixed(2)} s`,
    `${ratio.toFixed(3)} times as long`,
  ]
}

/** One 70 MB image of five layers, by many clients at once. */
export async function benchHerd(clients: number): Promise<string[]> {
  const layers = [40 * MB, 15 * MB, 10 * MB, 4 * MB, 1 * MB]
  const names = Array.from({ length: rounds }, (_, round) => `app${round}`)
  const upstream = await startSlowUpstream(
    bytesPerSecond,
    latencyMs,
    Object.fromEntries(names.map((name) => [name, layers])),
  )
  const entrepot = await startEntrepot()
  await addOrganization(entrepot, 'bench', upstream.host)
  const ratios: number[] = []
  const requests: number[] = []
  for (const name of names) {
    const direct = await pullImage(upstream.origin, name, {})
    const headers = await entrepot.bearer(`bench/${name}`)
    await upstream.transcript()
    const startedMs = performance.now()
    await Promise.all(Array.from({ length: clients }, () => pullImage(entrepot.origin, `bench/${name}`, headers)))
    ratios.push((performance.now() - startedMs) / direct)
    requests.push((await upstream.transcript()).filter((line) => line.includes('/blobs/')).length)
  }
  await entrepot.stop()
  upstream.stop()
  return [
    `${clients} clients cold at once, 70 MB in 5 layers and a config: ${median(ratios).toFixed(2)} times one direct pull`,
    `upstream blob requests for 6 blobs: ${requests.join(', ')}`,
  ]
}

/** Resident memory while many clients stream 300 MB, cold (and slowly) and then warm. */
export async function benchMemory(clients: number): Promise<string[]> {
  const upstream = await startSlowUpstream(200e6, latencyMs, { big: [300 * MB] })
  const entrepot = await startEntrepot()
  await addOrganization(entrepot, 'bench', upstream.host)
  const headers = await entrepot.bearer('bench/big')
  const manifest = await fetch(`${entrepot.origin}/v2/bench/big/manifests/latest`, { headers })
  const { layers } = (await manifest.json()) as { layers: { digest: string }[] }
  const url = `${entrepot.origin}/v2/bench/big/blobs/${layers[0]?.digest}`
  const idle = residentBytes(entrepot.daemon.pid)
  const peaks: string[] = []
  for (const [kind, speed] of [
    ['cold, clients at 40 MB/s', 40e6],
    ['warm', undefined],
  ] as const) {
    let peak = 0
    const watch = setInterval(() => {
      peak = Math.max(peak, residentBytes(entrepot.daemon.pid))
    }, 50)
    await Promise.all(Array.from({ length: clients }, () => pull(url, headers, speed)))
    clearInterval(watch)
    peaks.push(`${kind}: at most ${Math.round((peak - idle) / MB)} MB more than idle`)
  }
  await entrepot.stop()
  upstream.stop()
  return [`idle: ${Math.round(idle / MB)} MB; ${clients} clients streaming 300 MB`, ...peaks]
}
