/** `/repository/<r>/tag/…`, `…/image` and pins. Source: quay-behaviour.md 1.5; images and pins are ours. */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { invalidRequest, notFound } from '../../admin/admin-error.ts'
import { type RepositoryCall, TAG_LIMITS, type TagQuery } from '../../admin/tags.ts'
import { type Digest, parseDigest } from '../../oci/digest.ts'
import { parseTag, type Reference, type Tag } from '../../oci/reference.ts'
import { parseRepositoryName } from '../../oci/repository-name.ts'
import { type ApiCall, type ApiRoute, apiRoute } from './api-route.ts'
import { REPOSITORY } from './repository-routes.ts'

const textCharactersMax = 1024
const digest = z.string().max(textCharactersMax)

export const CHANGE_TAG_BODY = z.object({
  /** Seconds since the epoch. */
  expiration: z.number().int().nullish(),
  manifest_digest: digest.nullish(),
})
export const RESTORE_TAG_BODY = z.object({ manifest_digest: digest })
export const EXPIRE_TAG_BODY = z.object({
  manifest_digest: digest,
  /** What only this image holds always goes with it. */
  include_submanifests: z.boolean().nullish(),
  is_alive: z.boolean().nullish(),
})

const tagPath = `${REPOSITORY}/tag/:tag`

export function tagRoutes(admin: Admin): readonly ApiRoute[] {
  const { tags } = admin
  return [
    {
      method: 'GET',
      path: `${REPOSITORY}/tag/`,
      access: 'required',
      body: undefined,
      handle: async (call) => ({ status: 200, body: await tags.list(callOf(call), parseTagQuery(call)) }),
    },
    {
      method: 'GET',
      path: `${REPOSITORY}/image/`,
      access: 'required',
      body: undefined,
      handle: async (call) => ({ status: 200, body: await tags.listUntagged(callOf(call), parsePage(call)) }),
    },
    apiRoute({
      method: 'PUT',
      path: tagPath,
      access: 'required',
      body: CHANGE_TAG_BODY,
      handle: async (call) => {
        const { expiration, manifest_digest } = call.body
        const manifestDigest = manifest_digest == null ? undefined : parseBodyDigest(manifest_digest)
        await tags.change(callOf(call), tagOf(call), { expiration, manifestDigest })
        return { status: 201, body: 'Updated' }
      },
    }),
    {
      method: 'DELETE',
      path: tagPath,
      access: 'required',
      body: undefined,
      handle: async (call) => {
        await tags.delete(callOf(call), tagOf(call))
        return { status: 204 }
      },
    },
    apiRoute({
      method: 'POST',
      path: `${tagPath}/restore`,
      access: 'required',
      body: RESTORE_TAG_BODY,
      handle: async (call) => {
        await tags.restore(callOf(call), tagOf(call), parseBodyDigest(call.body.manifest_digest))
        return { status: 200, body: {} }
      },
    }),
    apiRoute({
      method: 'POST',
      path: `${tagPath}/expire`,
      access: 'required',
      body: EXPIRE_TAG_BODY,
      handle: async (call) => {
        const target = { digest: parseBodyDigest(call.body.manifest_digest), isAlive: call.body.is_alive ?? false }
        await tags.deletePermanently(callOf(call), tagOf(call), target)
        return { status: 200, body: {} }
      },
    }),
    ...pinRoutes(admin),
  ]
}

function pinRoutes({ pins }: Admin): ApiRoute[] {
  const targets: [string, (call: ApiCall<unknown>) => Reference][] = [
    [tagPath, (call) => ({ kind: 'tag', tag: tagOf(call) })],
    [`${REPOSITORY}/manifest/:digest`, (call) => ({ kind: 'digest', digest: digestOf(call) })],
  ]
  return targets.flatMap(([path, referenceOf]): ApiRoute[] => [
    {
      method: 'PUT',
      path: `${path}/pin`,
      access: 'required',
      body: undefined,
      handle: async (call) => {
        await pins.pin(callOf(call), referenceOf(call))
        return { status: 201, body: 'Pinned' }
      },
    },
    {
      method: 'DELETE',
      path: `${path}/pin`,
      access: 'required',
      body: undefined,
      handle: async (call) => {
        await pins.unpin(callOf(call), referenceOf(call))
        return { status: 204 }
      },
    },
  ])
}

/** Who asks for which repository. Errors: AdminError NOT_FOUND. */
export function callOf({ caller, address, params }: ApiCall<unknown>): RepositoryCall {
  const repository = parseRepositoryName(params['repository'] ?? '')
  if (repository === undefined) throw notFound('repository')
  return { caller, address, key: { organization: params['organization'] ?? '', repository } }
}

function tagOf({ params }: ApiCall<unknown>): Tag {
  const tag = parseTag(params['tag'] ?? '')
  if (tag === undefined) throw notFound('tag')
  return tag
}

function digestOf({ params }: ApiCall<unknown>): Digest {
  const parsed = parseDigest(params['digest'] ?? '')
  if (parsed === undefined) throw notFound('manifest')
  return parsed
}

function parseBodyDigest(text: string): Digest {
  const parsed = parseDigest(text)
  if (parsed === undefined) throw invalidRequest('manifest_digest: expected sha256: and 64 hexadecimal digits')
  return parsed
}

/** Errors: AdminError INVALID_REQUEST, naming the field. */
function parseTagQuery(call: ApiCall<unknown>): TagQuery {
  const text = queryOf(call)
  return {
    ...parsePage(call),
    specificTag: text('specificTag') || undefined,
    filter: parseFilter(text('filter_tag_name')),
    onlyActiveTags: parseBoolean('onlyActiveTags', text('onlyActiveTags')),
  }
}

function parsePage(call: ApiCall<unknown>): { page: number; limit: number } {
  const text = queryOf(call)
  const { pageMax, pageEntriesMax, pageEntriesDefault } = TAG_LIMITS
  return {
    page: parseWhole('page', text('page'), pageMax, 1),
    limit: parseWhole('limit', text('limit'), pageEntriesMax, pageEntriesDefault),
  }
}

function queryOf({ request }: ApiCall<unknown>): (name: string) => string | undefined {
  const query = request.query as Readonly<Record<string, unknown>>
  return (name) => {
    const value = Object.hasOwn(query, name) ? query[name] : undefined
    if (value === undefined) return undefined
    if (typeof value !== 'string') throw invalidRequest(`${name}: is given more than once`)
    if (value.length > textCharactersMax) throw invalidRequest(`${name}: more than ${textCharactersMax} characters`)
    return value
  }
}

function parseWhole(name: string, text: string | undefined, max: number, otherwise: number): number {
  if (text === undefined) return otherwise
  const value = /^\d{1,15}$/.test(text) ? Number(text) : 0
  if (value >= 1 && value <= max) return value
  throw invalidRequest(`${name}: expected a whole number from 1 to ${max}`)
}

function parseBoolean(name: string, text: string | undefined): boolean {
  if (text === undefined || /^(?:false|0|)$/i.test(text)) return false
  if (/^(?:true|1)$/i.test(text)) return true
  throw invalidRequest(`${name}: expected true or false`)
}

function parseFilter(text: string | undefined): TagQuery['filter'] {
  if (text === undefined || text === '') return undefined
  const [, kind, value = ''] = /^(like|eq):(.*)$/s.exec(text) ?? []
  if (kind === 'like' || kind === 'eq') return { kind, text: value }
  throw invalidRequest('filter_tag_name: expected like:<part of the name> or eq:<name>')
}
