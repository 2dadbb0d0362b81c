/** One organization under test: its upstream, and a client that pulls from it. */
import type { FakeUpstream } from '../fakes/fake-upstream.ts'
import type { ClientAnswer, ClientRequest, OpenAnswer, RegistryClient } from './registry-client.ts'
import type { CacheOptions, Entrepot, Login } from './start-entrepot.ts'

/** The policy of an organization, by the names of the API. */
export type Policy = {
  revalidate_after_s?: number
  max_stale_s?: number | null
  refuse_when_denied?: boolean
  anonymous_pulls?: boolean
  frozen?: boolean
  allowed_repositories?: readonly string[]
  denied_repositories?: readonly string[]
  mirror_host?: string | null
  ca_pem?: string | null
}

/** Paths are relative to the organization: `library/alpine/manifests/3.20`. */
export class Cache {
  readonly organization: string
  readonly upstream: FakeUpstream
  readonly client: RegistryClient
  readonly #entrepot: Entrepot

  constructor(entrepot: Entrepot, organization: string, upstream: FakeUpstream, client: RegistryClient) {
    this.#entrepot = entrepot
    this.organization = organization
    this.upstream = upstream
    this.client = client
  }

  /** The same with another's credentials, or none. */
  as(login: Login | undefined): Cache {
    return new Cache(this.#entrepot, this.organization, this.upstream, this.#entrepot.client(login))
  }

  get(path: string, headers?: Record<string, string>): Promise<ClientAnswer> {
    return this.client.get(this.#absolute(path), headers)
  }

  head(path: string): Promise<ClientAnswer> {
    return this.client.head(this.#absolute(path))
  }

  send(path: string, options: ClientRequest): Promise<ClientAnswer> {
    return this.client.send(this.#absolute(path), options)
  }

  open(path: string, options?: ClientRequest): Promise<OpenAnswer> {
    return this.client.open(this.#absolute(path), options)
  }

  /** The repositories that have a row here, without the organization, in order. */
  async repositories(): Promise<string[]> {
    const prefix = `${this.organization}/`
    const answer = await this.#entrepot.api('GET', '/v2/_catalog?n=10000')
    const { repositories } = JSON.parse(answer.body.toString())
    return repositories
      .filter((name: string) => name.startsWith(prefix))
      .map((name: string) => name.slice(prefix.length))
      .toSorted()
  }

  async setPolicy(policy: Policy): Promise<void> {
    await this.#entrepot.must('PUT', `/api/v1/organization/${this.organization}`, policy)
  }

  /** Name the upstream, for the first time or another. */
  async setUpstream(upstream: FakeUpstream, options: CacheOptions = {}): Promise<void> {
    const path = `/api/v1/organization/${this.organization}/proxycache`
    const host = options.upstreamHost ?? upstream.host
    const document = {
      upstream_registry: options.namespace === undefined ? host : `${host}/${options.namespace}`,
      insecure: options.insecure ?? (options.upstreamHost === undefined && upstream.caPem === undefined),
      expiration_s: options.expiration_s ?? 86_400,
      upstream_registry_username: options.login?.username ?? null,
      upstream_registry_password: options.login?.password ?? null,
    }
    const before = JSON.parse((await this.#entrepot.api('GET', path)).body.toString())
    await this.#entrepot.must(before.upstream_registry === '' ? 'POST' : 'PUT', path, document)
  }

  async removeUpstream(): Promise<void> {
    await this.#entrepot.must('DELETE', `/api/v1/organization/${this.organization}/proxycache`, undefined)
  }

  #absolute(path: string): string {
    return `/v2/${this.organization}/${path}`
  }
}
