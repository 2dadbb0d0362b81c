/** A cheap client: it reads and throws away, so that its own cost does not decide. Keeps connections open. */
import { Agent, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'

export type Pull = {
  status: number
  bytes: number
  firstByteMs: number
  totalMs: number
  headers: IncomingMessage['headers']
}

const agent = new Agent({ keepAlive: true, maxSockets: 1000 })

/** GET `url` and throw its body away; `bytesPerSecond` reads no faster than that. */
export function pull(url: string, headers: Record<string, string> = {}, bytesPerSecond?: number): Promise<Pull> {
  const startedMs = performance.now()
  return new Promise((resolve, reject) => {
    request(url, { agent, headers }, (response) => {
      let bytes = 0
      let firstByteMs = 0
      response.on('data', (block: Buffer) => {
        if (bytes === 0) firstByteMs = performance.now() - startedMs
        bytes += block.byteLength
        if (bytesPerSecond === undefined) return
        response.pause()
        setTimeout(() => response.resume(), (block.byteLength / bytesPerSecond) * 1000)
      })
      response.on('error', reject)
      response.on('end', () => {
        const totalMs = performance.now() - startedMs
        resolve({ status: response.statusCode ?? 0, bytes, firstByteMs, totalMs, headers: response.headers })
      })
    })
      .on('error', reject)
      .end()
  })
}

const drainBufferBytes = 1024 * 1024

/** GET `url` over a connection of its own into one buffer, again and again: as cheap as a client can be in Node. */
export function drain(url: string, headers: Record<string, string>, expectedBytes: number): Promise<void> {
  const { hostname, port, pathname } = new URL(url)
  const fields = Object.entries({ host: 'bench', connection: 'close', ...headers })
  const head = `GET ${pathname} HTTP/1.1\r\n${fields.map((field) => `${field.join(': ')}\r\n`).join('')}\r\n`
  return new Promise((resolve, reject) => {
    let bodyBytes: number | undefined
    const take = (bytes: number, buffer: Uint8Array): boolean => {
      if (bodyBytes !== undefined) {
        bodyBytes += bytes
        return true
      }
      const start = Buffer.from(buffer.buffer, buffer.byteOffset, bytes)
      const end = start.indexOf('\r\n\r\n')
      if (!start.toString('latin1').startsWith('HTTP/1.1 200 ') || end === -1) reject(new Error(`not 200: ${url}`))
      bodyBytes = bytes - end - 4
      return true
    }
    const onread = { buffer: Buffer.alloc(drainBufferBytes), callback: take }
    const socket = connect({ host: hostname, port: Number(port), onread }, () => socket.write(head))
    socket.on('error', reject).on('close', () => {
      if (bodyBytes === expectedBytes) resolve()
      else reject(new Error(`${bodyBytes} bytes of ${expectedBytes}: ${url}`))
    })
  })
}

/** GET a small document whole. */
export function get(url: string, headers: Record<string, string> = {}): Promise<{ status: number; body: Buffer }> {
  return new Promise((resolve, reject) => {
    request(url, { agent, headers }, (response) => {
      const blocks: Buffer[] = []
      response.on('data', (block: Buffer) => blocks.push(block))
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(blocks) }))
    })
      .on('error', reject)
      .end()
  })
}

export type ImageManifest = { config: { digest: string; size: number }; layers: { digest: string; size: number }[] }

/** Pull a whole image as clients do: the manifest, then its blobs at once. Resolves to its milliseconds. */
export async function pullImage(origin: string, repository: string, headers: Record<string, string>): Promise<number> {
  const startedMs = performance.now()
  const manifest = await get(`${origin}/v2/${repository}/manifests/latest`, headers)
  if (manifest.status !== 200) throw new Error(`manifest of ${repository}: ${manifest.status} ${manifest.body}`)
  const image = JSON.parse(manifest.body.toString()) as ImageManifest
  const blobs = [image.config, ...image.layers]
  const pulls = await Promise.all(blobs.map((blob) => pull(`${origin}/v2/${repository}/blobs/${blob.digest}`, headers)))
  pulls.forEach((answer, index) => {
    if (answer.status !== 200 || answer.bytes !== blobs[index]?.size)
      throw new Error(`blob of ${repository}: ${answer.status}`)
  })
  return performance.now() - startedMs
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
