/**
 * An upstream at a distance: a registry over memory whose link carries so many bytes a second, each answer so many
 * milliseconds late. Its own process, so that its work is not the server's. Prints its port; `GET /transcript` tells.
 *
 * Usage: node bench/slow-upstream.ts BYTES_PER_SECOND LATENCY_MS NAME=LAYER_BYTES[,LAYER_BYTES…] …
 */
import { createHash, randomBytes } from 'node:crypto'
import { createServer, type ServerResponse } from 'node:http'

const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
/** A tick of the link: all that are being sent share what it carries in this time. */
const tickMs = 5

const [bytesPerSecond = 0, latencyMs = 0] = process.argv.slice(2, 4).map(Number)
const contents = new Map<string, { bytes: Buffer; type: string }>()
const transcript: string[] = []
const sending: { response: ServerResponse; bytes: Buffer; sent: number }[] = []

function add(bytes: Buffer, type: string): { digest: string; size: number; mediaType: string } {
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  contents.set(digest, { bytes, type })
  return { digest, size: bytes.byteLength, mediaType: type }
}

for (const image of process.argv.slice(4)) {
  const [name = '', sizes = ''] = image.split('=')
  const layers = sizes.split(',').map((size) => ({
    ...add(randomBytes(Number(size)), 'application/octet-stream'),
    mediaType: 'application/vnd.oci.image.layer.v1.tar',
  }))
  const config = {
    ...add(Buffer.from(JSON.stringify({ name, os: 'linux', architecture: 'amd64' })), 'application/octet-stream'),
    mediaType: 'application/vnd.oci.image.config.v1+json',
  }
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers }))
  contents.set(`${name}:latest`, { bytes: manifest, type: OCI_MANIFEST })
  add(manifest, OCI_MANIFEST)
}

const server = createServer((request, response) => {
  if (request.url === '/transcript') {
    response.end(JSON.stringify(transcript.splice(0)))
    return
  }
  transcript.push(`${request.method} ${request.url}`)
  setTimeout(() => answer(request.url ?? '', request.method ?? '', request.headers.range, response), latencyMs)
})

function answer(url: string, method: string, range: string | undefined, response: ServerResponse): void {
  if (url === '/v2/') return void response.end('{}')
  const [, name = '', reference = ''] = /^\/v2\/(.+)\/(?:manifests|blobs)\/([^/]+)$/.exec(url) ?? []
  const content = contents.get(reference.includes(':') ? reference : `${name}:${reference}`)
  if (content === undefined) return void response.writeHead(404).end('{"errors":[]}')
  const start = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0)
  const size = content.bytes.byteLength
  response.writeHead(start > 0 ? 206 : 200, {
    'content-type': content.type,
    'content-length': size - start,
    'docker-content-digest': `sha256:${createHash('sha256')
      .update(content.bytes.subarray(0, size > 1e6 ? 0 : size))
      .digest('hex')}`,
    ...(start > 0 ? { 'content-range': `bytes ${start}-${size - 1}/${size}` } : {}),
  })
  if (method === 'HEAD') return void response.end()
  sending.push({ response, bytes: content.bytes, sent: start })
}

let lastTickMs = performance.now()
let credit = 0
setInterval(() => {
  const nowMs = performance.now()
  credit = Math.min(credit + ((nowMs - lastTickMs) / 1000) * bytesPerSecond, (bytesPerSecond * 10 * tickMs) / 1000)
  lastTickMs = nowMs
  const open = sending.filter(({ response }) => !response.writableNeedDrain)
  const share = Math.floor(credit / Math.max(1, open.length))
  for (const transfer of open) {
    const block = transfer.bytes.subarray(transfer.sent, transfer.sent + share)
    transfer.sent += block.byteLength
    credit -= block.byteLength
    transfer.response.write(block)
    if (transfer.sent >= transfer.bytes.byteLength) transfer.response.end()
  }
  for (let index = sending.length - 1; index >= 0; index--) {
    const transfer = sending[index]
    if (transfer !== undefined && (transfer.response.writableEnded || transfer.response.destroyed))
      sending.splice(index, 1)
  }
}, tickMs)

server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  process.stdout.write(`${JSON.stringify({ port: typeof address === 'object' && address ? address.port : 0 })}\n`)
})
