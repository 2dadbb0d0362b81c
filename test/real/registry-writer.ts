/** Pushes to a registry, byte for byte: what skopeo and podman would rewrite is kept as it was made. */
import assert from 'node:assert/strict'
import { sha256 } from '../fakes/content.ts'
import type { Login } from './docker-registry.ts'
import { basicAuthorization } from './token-service.ts'

export type WrittenManifest = { digest: string; mediaType: string; bytes: Buffer }

export class RegistryWriter {
  readonly #url: string
  readonly #login: Login | undefined
  readonly #authorizations = new Map<string, string>()

  /** `url` without `/v2/`. */
  constructor(url: string, login?: Login) {
    this.#url = url
    this.#login = login
  }

  /** Upload a blob in one request, unless the repository has it. Resolves to its digest. */
  async putBlob(repository: string, bytes: Uint8Array<ArrayBuffer>): Promise<string> {
    const digest = sha256(bytes)
    const held = await this.#fetch(repository, `blobs/${digest}`, { method: 'HEAD' })
    if (held.ok) return digest
    const begun = await this.#fetch(repository, 'blobs/uploads/', { method: 'POST' })
    assert.equal(begun.status, 202, await begun.text())
    const place = new URL(begun.headers.get('location') ?? '', this.#url)
    place.searchParams.set('digest', digest)
    const put = await this.#fetch(repository, place, {
      method: 'PUT',
      body: bytes,
      headers: { 'Content-Type': 'application/octet-stream' },
    })
    assert.equal(put.status, 201, await put.text())
    return digest
  }

  /** `references`: tags; without any, the manifest is found by its digest only. */
  async putManifest(repository: string, manifest: WrittenManifest, references: readonly string[] = []): Promise<void> {
    for (const reference of references.length > 0 ? references : [manifest.digest]) {
      const put = await this.#fetch(repository, `manifests/${reference}`, {
        method: 'PUT',
        body: new Uint8Array(manifest.bytes),
        headers: { 'Content-Type': manifest.mediaType },
      })
      assert.equal(put.status, 201, await put.text())
      assert.equal(put.headers.get('docker-content-digest'), manifest.digest)
    }
  }

  async #fetch(repository: string, place: string | URL, init: RequestInit): Promise<Response> {
    const url = typeof place === 'string' ? `${this.#url}/v2/${repository}/${place}` : place
    const send = () => {
      const headers = new Headers(init.headers)
      const authorization = this.#authorizations.get(repository)
      if (authorization !== undefined) headers.set('Authorization', authorization)
      return fetch(url, { ...init, headers })
    }
    const first = await send()
    if (first.status !== 401 || this.#login === undefined) return first
    await first.body?.cancel()
    const challenge = first.headers.get('www-authenticate') ?? ''
    this.#authorizations.set(repository, await authorize(challenge, repository, this.#login))
    return send()
  }
}

async function authorize(challenge: string, repository: string, login: Login): Promise<string> {
  const [, realm] = /^Bearer realm="([^"]+)"/i.exec(challenge) ?? []
  if (realm === undefined) return basicAuthorization(login)
  const [, service = ''] = /service="([^"]+)"/.exec(challenge) ?? []
  const url = new URL(realm)
  url.searchParams.set('service', service)
  url.searchParams.set('scope', `repository:${repository}:pull,push`)
  const response = await fetch(url, { headers: { Authorization: basicAuthorization(login) } })
  const answer: unknown = await response.json()
  assert.ok(typeof answer === 'object' && answer !== null && 'token' in answer, 'the token service gave no token')
  return `Bearer ${answer.token}`
}
