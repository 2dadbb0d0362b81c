/** The endpoints of `/v2`, one row each: adding a kind of request without its handler does not compile. */
import type { RegistryRequest } from '../../oci/request.ts'
import { headBlob, sendBlob } from './blob-handlers.ts'
import type { Answer, Exchange } from './exchange.ts'
import { listCatalog, listReferrers, listTags } from './list-handlers.ts'
import { getManifest, headManifest } from './manifest-handlers.ts'
import { ping, refusePush } from './nameless-handlers.ts'
import type { RegistryDeps } from './registry-deps.ts'

type Kind = RegistryRequest['kind']
export type RequestOf<Name extends Kind> = RegistryRequest & { kind: Name }
export type Handler<Name extends Kind> = (
  deps: RegistryDeps,
  exchange: Exchange,
  request: RequestOf<Name>,
) => Promise<Answer>

/** Handlers return an answer or throw; none writes to the response. */
const HANDLERS: { readonly [Name in Kind]: Handler<Name> } = {
  ping,
  getManifest,
  headManifest,
  getBlob: sendBlob,
  headBlob,
  listTags,
  listReferrers,
  catalog: listCatalog,
  push: refusePush,
}

export function handle(deps: RegistryDeps, exchange: Exchange, request: RegistryRequest): Promise<Answer> {
  const handler = HANDLERS[request.kind] as Handler<Kind> // The table pairs each kind with its request.
  return handler(deps, exchange, request)
}
