/** One organization under test: its upstream, and a client that pulls from it. */
import type { FakeUpstream, FakeUpstreamOptions } from '../fakes/fake-upstream.ts'
import type { ClientAnswer, ClientRequest, OpenAnswer, RegistryClient } from './registry-client.ts'

export type Login = { username: string; password: string }

export type CacheOptions = FakeUpstreamOptions & {
  /** Default: a name of its own. */
  organization?: string
  expiration_s?: number
  /** After the host in `upstream_registry`. */
  namespace?: string
  /** The organization's credentials. */
  login?: Login
  policy?: Policy
  /** An upstream that is there already. */
  upstream?: FakeUpstream
  /** What is written instead of the upstream's own host. */
  upstreamHost?: string
  insecure?: boolean
}

/** The server as its superuser sees it. */
export type Administration = {
  client(login: Login | undefined): RegistryClient
  api(method: string, path: string, body?: string): Promise<ClientAnswer>
  /** Rejects unless the answer is a 2xx. */
  must(method: string, path: string, document: unknown): Promise<ClientAnswer>
}

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
  ca_certificate?: string | null
}

/** Paths are relative to the organization: `library/alpine/manifests/3.20`. */
export class Cache {
  readonly organization: string
  readonly upstream: FakeUpstream
  readonly client: RegistryClient
  readonly #administration: Administration

  constructor(administration: Administration, organization: string, upstream: FakeUpstream, client: RegistryClient) {
    this.#administration = administration
    this.organization = organization
    this.upstream = upstream
    this.client = client
  }

  /** The same with another's credentials, or none. */
  as(login: Login | undefined): Cache {
    return new Cache(this.#administration, this.organization, this.upstream, this.#administration.client(login))
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
    const answer = await this.#administration.api('GET', '/v2/_catalog?n=10000')
    const { repositories } = JSON.parse(answer.body.toString())
    return repositories
      .filter((name: string) => name.startsWith(prefix))
      .map((name: string) => name.slice(prefix.length))
      .toSorted()
  }

  async setPolicy(policy: Policy): Promise<void> {
    await this.#administration.must('PUT', `/api/v1/organization/${this.organization}`, policy)
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
    const before = JSON.parse((await this.#administration.api('GET', path)).body.toString())
    await this.#administration.must(before.upstream_registry === '' ? 'POST' : 'PUT', path, document)
  }

  async removeUpstream(): Promise<void> {
    await this.#administration.must('DELETE', `/api/v1/organization/${this.organization}/proxycache`, undefined)
  }

  #absolute(path: string): string {
    return `/v2/${this.organization}/${path}`
  }
}
