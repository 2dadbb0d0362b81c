/** What can be changed of an organization, and the checks that stand before it. */
import { X509Certificate } from 'node:crypto'
import { KiB } from '../base/units.ts'
import { isNotAnUpstreamName, parseUpstreamName } from '../oci/upstream-name.ts'
import { invalidRequest } from './admin-error.ts'
import { isEmail } from './username.ts'

export const ORGANIZATION_LIMITS = {
  /** 68 years: Quay keeps seconds in 31 bits. */
  secondsMax: 2_147_483_647,
  globsMax: 100,
  globCharactersMax: 255,
  /** Each can make matching a name slower. */
  globStarsMax: 8,
  certificateBytesMax: 64 * KiB,
  certificatesMax: 20,
} as const

/** Fields of `PUT /organization/<org>`, by the API's names. Absent: unchanged. Null, where allowed: none. */
export type OrganizationFields = {
  email?: string | null | undefined
  tag_expiration_s?: number | undefined
  revalidate_after_s?: number | undefined
  max_stale_s?: number | null | undefined
  refuse_when_denied?: boolean | undefined
  anonymous_pulls?: boolean | undefined
  frozen?: boolean | undefined
  passes_too_large?: boolean | undefined
  allowed_repositories?: readonly string[] | undefined
  denied_repositories?: readonly string[] | undefined
  mirror_host?: string | null | undefined
  ca_certificate?: string | null | undefined
}

/** What `updateOrganization` takes. */
export type OrganizationChanges = {
  email?: string | undefined
  tagExpirationSeconds?: number
  revalidateAfterSeconds?: number
  maxStaleSeconds?: number | undefined
  refuseWhenDenied?: boolean
  anonymousPulls?: boolean
  frozen?: boolean
  passesTooLarge?: boolean
  allowedRepositories?: string[]
  deniedRepositories?: string[]
  mirrorHost?: string | undefined
  caPem?: string | undefined
}

/** Errors: AdminError INVALID_REQUEST, naming the field. */
export function parseOrganizationFields(
  fields: OrganizationFields,
  tagExpirationOptionsSeconds: readonly number[],
): OrganizationChanges {
  const changes: OrganizationChanges = {}
  if (fields.email !== undefined) changes.email = parseEmail(fields.email)
  if (fields.tag_expiration_s !== undefined) {
    changes.tagExpirationSeconds = parseTagExpiration(fields.tag_expiration_s, tagExpirationOptionsSeconds)
  }
  if (fields.revalidate_after_s !== undefined) changes.revalidateAfterSeconds = fields.revalidate_after_s
  if (fields.max_stale_s !== undefined) changes.maxStaleSeconds = fields.max_stale_s ?? undefined
  if (fields.refuse_when_denied !== undefined) changes.refuseWhenDenied = fields.refuse_when_denied
  if (fields.anonymous_pulls !== undefined) changes.anonymousPulls = fields.anonymous_pulls
  if (fields.frozen !== undefined) changes.frozen = fields.frozen
  if (fields.passes_too_large !== undefined) changes.passesTooLarge = fields.passes_too_large
  if (fields.allowed_repositories !== undefined) {
    changes.allowedRepositories = parseGlobs('allowed_repositories', fields.allowed_repositories)
  }
  if (fields.denied_repositories !== undefined) {
    changes.deniedRepositories = parseGlobs('denied_repositories', fields.denied_repositories)
  }
  if (fields.mirror_host !== undefined) changes.mirrorHost = parseMirrorHost(fields.mirror_host)
  if (fields.ca_certificate !== undefined) changes.caPem = parseCertificates(fields.ca_certificate)
  return changes
}

/** Empty is none, as Quay's console sends it. */
export function parseEmail(email: string | null): string | undefined {
  if (email === null || email === '') return undefined
  if (!isEmail(email)) throw invalidRequest('email: not an email address')
  return email
}

function parseTagExpiration(seconds: number, optionsSeconds: readonly number[]): number {
  if (optionsSeconds.includes(seconds)) return seconds
  throw invalidRequest(`tag_expiration_s: expected one of ${optionsSeconds.join(', ')} (TAG_EXPIRATION_OPTIONS)`)
}

function parseGlobs(field: string, globs: readonly string[]): string[] {
  for (const glob of globs) {
    const isGlob = /^[a-z0-9._/*?-]+$/.test(glob) && glob.split('*').length - 1 <= ORGANIZATION_LIMITS.globStarsMax
    if (isGlob) continue
    throw invalidRequest(
      `${field}: expected repository names without the organization, in which * stands for a part of a component and ` +
        `** for any components; at most ${ORGANIZATION_LIMITS.globStarsMax} stars each`,
    )
  }
  return [...new Set(globs)]
}

/** The host as upstreams are contacted, so that every alias of Docker Hub finds the one mirror. */
function parseMirrorHost(host: string | null): string | undefined {
  if (host === null || host === '') return undefined
  const parsed = parseUpstreamName(host)
  if (isNotAnUpstreamName(parsed)) throw invalidRequest(`mirror_host: ${parsed.problem}`)
  if (parsed.namespace !== undefined) throw invalidRequest('mirror_host: expected a host without a namespace')
  return parsed.host
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g

/**
 * Only the certificates are kept: what stands around them in a file is for people, or a key that is not ours to know.
 */
function parseCertificates(pem: string | null): string | undefined {
  if (pem === null || pem.trim() === '') return undefined
  if (pem.includes('PRIVATE KEY')) throw invalidRequest('ca_certificate: a private key does not belong here')
  const blocks = pem.match(CERTIFICATE) ?? []
  if (blocks.length === 0 || blocks.length > ORGANIZATION_LIMITS.certificatesMax) {
    throw invalidRequest(`ca_certificate: expected 1 to ${ORGANIZATION_LIMITS.certificatesMax} certificates in PEM`)
  }
  for (const [index, block] of blocks.entries()) {
    if (!isCertificate(block)) throw invalidRequest(`ca_certificate: certificate ${index + 1} cannot be read`)
  }
  return `${blocks.join('\n')}\n`
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).subject !== null
  } catch {
    return false // Whatever it is that the parser says: the text is no certificate.
  }
}
