/** A program that people pull with. */
import type { Login } from './docker-registry.ts'

export type PullTarget = {
  /** `127.0.0.1:port`; plain HTTP. */
  host: string
  repository: string
  /** A tag or a digest. */
  reference: string
  login?: Login
}

/** What arrived, as far as the client tells. It was unpacked, so its layers matched. */
export type PulledImage = {
  /** What the tag named: the index, where it is one. */
  topDigest: string | undefined
  configDigest: string | undefined
  diffIds: readonly string[] | undefined
  /** Each manifest, config and layer whose bytes were kept as they came. */
  digests: readonly string[] | undefined
}

export interface Client {
  readonly name: string
  /** Pull into an empty store, and leave it empty. Errors: with all that the client said. */
  pull(target: PullTarget): Promise<PulledImage>
  stop(): Promise<void>
}

export function formatTarget({ host, repository, reference }: PullTarget): string {
  return `${host}/${repository}${reference.includes(':') ? '@' : ':'}${reference}`
}

export function formatLogin({ username, password }: Login): string {
  return `${username}:${password}`
}

/** JSON text that must be an array; its first element. */
export function firstOf(json: string): Record<string, unknown> {
  const list: unknown = JSON.parse(json)
  const first: unknown = Array.isArray(list) ? list[0] : undefined
  if (typeof first !== 'object' || first === null) throw new Error(`expected a list of objects: ${json}`)
  return { ...first }
}

/** What podman and Docker say of an image that they hold; Docker has no `Digest` of its own. */
export function parseInspection(json: string): PulledImage {
  const image = firstOf(json)
  const digests: unknown = image['RepoDigests']
  const rootFs: unknown = image['RootFS']
  const layers: unknown = typeof rootFs === 'object' && rootFs !== null && 'Layers' in rootFs ? rootFs.Layers : []
  const own = typeof image['Digest'] === 'string' ? image['Digest'] : undefined
  const named = Array.isArray(digests) ? String(digests[0]).split('@')[1] : undefined
  return {
    topDigest: own ?? named,
    configDigest: `sha256:${String(image['Id']).replace('sha256:', '')}`,
    diffIds: Array.isArray(layers) ? layers.map(String) : [],
    digests: undefined,
  }
}
