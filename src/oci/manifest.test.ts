import assert from 'node:assert/strict'
import { test } from 'node:test'
import { digestOf } from './digest.ts'
import { isNotAManifest, MANIFEST_LIMITS, type ParsedManifest, parseManifest } from './manifest.ts'
import { DOCKER_LIST, DOCKER_SCHEMA1_SIGNED, OCI_INDEX, OCI_MANIFEST } from './media-type.ts'

const digest = digestOf(Buffer.from('some blob'))
const other = digestOf(Buffer.from('another blob'), 'sha512')
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 9 }
const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: other, size: 12 }

function parse(document: unknown, contentType?: string) {
  return parseManifest(Buffer.from(JSON.stringify(document)), contentType)
}

function accepted(document: unknown, contentType?: string): ParsedManifest {
  const parsed = parse(document, contentType)
  assert.ok(!isNotAManifest(parsed), JSON.stringify(parsed))
  return parsed
}

function refused(document: unknown, contentType?: string) {
  const parsed = parse(document, contentType)
  assert.ok(isNotAManifest(parsed), JSON.stringify(document))
  return parsed
}

test('an image names its config and its layers', () => {
  const parsed = accepted({ schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: [layer, layer] })
  assert.deepEqual(parsed, {
    mediaType: OCI_MANIFEST,
    children: [],
    blobs: [
      { ...config, kind: 'config', hasUrls: false },
      { ...layer, kind: 'layer', hasUrls: false },
      { ...layer, kind: 'layer', hasUrls: false },
    ],
    subject: undefined,
    artifactType: config.mediaType,
    annotations: undefined,
  })
})

test('an index names its children with their platforms', () => {
  const child = { mediaType: OCI_MANIFEST, digest, size: 500 }
  const platform = { os: 'linux', architecture: 'arm', variant: 'v7', 'os.version': '1' }
  const parsed = accepted({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [{ ...child, platform }, child] })
  assert.deepEqual(parsed.children, [
    { ...child, platform: { os: 'linux', architecture: 'arm', variant: 'v7' } },
    { ...child, platform: undefined },
  ])
  assert.deepEqual(parsed.blobs, [])
})

test('an artifact tells its type, its subject and its annotations', () => {
  const subject = { mediaType: OCI_MANIFEST, digest, size: 500 }
  const document = { schemaVersion: 2, artifactType: 'application/x.sbom', config, layers: [], subject }
  const parsed = accepted({ ...document, annotations: { title: 'it', odd: 5 } })
  assert.equal(parsed.artifactType, 'application/x.sbom')
  assert.equal(parsed.subject, digest)
  assert.deepEqual(parsed.annotations, { title: 'it' })
})

test('layers with urls are marked, since nobody downloads those for a client', () => {
  const foreign = { ...layer, urls: ['https://example.com/layer'] }
  const parsed = accepted({ schemaVersion: 2, config, layers: [foreign, { ...layer, urls: [] }] })
  assert.deepEqual(
    parsed.blobs.map((blob) => blob.hasUrls),
    [false, true, false],
  )
})

test('the media type is what the bytes say, then what the upstream said, then what it looks like', () => {
  const image = { schemaVersion: 2, config, layers: [layer] }
  assert.equal(accepted({ ...image, mediaType: OCI_MANIFEST }, DOCKER_LIST).mediaType, OCI_MANIFEST)
  assert.equal(accepted(image, 'Application/Vnd.Example; charset=utf-8').mediaType, 'application/vnd.example')
  for (const generic of [undefined, '', 'application/json', 'text/plain; charset=utf-8', 'application/octet-stream']) {
    assert.equal(accepted(image, generic).mediaType, OCI_MANIFEST)
    assert.equal(accepted({ schemaVersion: 2, manifests: [] }, generic).mediaType, OCI_INDEX)
  }
})

test('a media type that would be a header of its own is not believed', () => {
  const image = { schemaVersion: 2, config, layers: [layer] }
  for (const mediaType of ['a/b\r\nX-Evil: 1', 'a/b\0', '', 'ü/b', 5, `a/${'b'.repeat(300)}`]) {
    assert.equal(accepted({ ...image, mediaType }).mediaType, OCI_MANIFEST)
  }
})

test('schema 1 is refused in words that tell what to do', () => {
  for (const parsed of [
    refused({ schemaVersion: 1, name: 'x', fsLayers: [] }),
    refused({ fsLayers: [] }, DOCKER_SCHEMA1_SIGNED),
    refused({ schemaVersion: 2, layers: [] }, DOCKER_SCHEMA1_SIGNED),
  ]) {
    assert.equal(parsed.problem, 'schema1')
    assert.match(parsed.message, /push the image again/)
  }
})

test('what is not a manifest is said to be none', () => {
  for (const document of [null, 5, 'text', [], {}, { schemaVersion: 3 }, { html: 'yes' }]) {
    assert.equal(refused(document).problem, 'invalid')
  }
  for (const bytes of [Buffer.from('<html>'), Buffer.alloc(0), Buffer.from([0x7b, 0xff, 0x7d]), Buffer.from('{"a":')]) {
    assert.ok(isNotAManifest(parseManifest(bytes, 'application/json')))
  }
})

test('one malformed descriptor spoils the manifest', () => {
  const broken = [
    { ...layer, digest: 'sha256:short' },
    { ...layer, digest: `${digest}\n` },
    { ...layer, digest: undefined },
    { ...layer, size: -1 },
    { ...layer, size: 1.5 },
    { ...layer, size: '9' },
    { ...layer, size: 2 ** 53 },
    null,
    [],
    'text',
  ]
  for (const entry of broken) {
    assert.equal(refused({ schemaVersion: 2, config, layers: [layer, entry] }).problem, 'invalid')
    assert.equal(refused({ schemaVersion: 2, manifests: [entry] }).problem, 'invalid')
    assert.equal(refused({ schemaVersion: 2, config: entry ?? 'text', layers: [] }).problem, 'invalid')
  }
  for (const list of ['text', {}, 5]) assert.equal(refused({ schemaVersion: 2, layers: list }).problem, 'invalid')
})

test('the limits hold: as many descriptors and bytes as they allow, and not one more', () => {
  const small = { mediaType: 'a/b', digest, size: 1 }
  const { descriptorsMax, bytesMax } = MANIFEST_LIMITS
  const image = (layers: number) => ({ schemaVersion: 2, config, layers: Array(layers).fill(small) })
  assert.equal(accepted(image(descriptorsMax - 1)).blobs.length, descriptorsMax)
  assert.match(refused(image(descriptorsMax)).message, /more than 10000 descriptors/)
  const padded = (bytes: number) => {
    const text = JSON.stringify({ schemaVersion: 2, config, layers: [] })
    return Buffer.concat([Buffer.from(text), Buffer.alloc(bytes - text.length, ' ')])
  }
  assert.ok(!isNotAManifest(parseManifest(padded(bytesMax), undefined)))
  assert.ok(isNotAManifest(parseManifest(padded(bytesMax + 1), undefined)))
})

test('names that objects inherit are not taken for content', () => {
  const parsed = parseManifest(Buffer.from('{"schemaVersion":2,"__proto__":{"layers":[1]},"constructor":1}'), undefined)
  assert.ok(!isNotAManifest(parsed))
  assert.deepEqual([parsed.blobs, parsed.children], [[], []])
})
