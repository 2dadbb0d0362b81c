/** What the upstream client tells metrics and logs. Never a secret, a path or a query. */
import type { UpstreamFailure } from '../errors.ts'
import type { UpstreamAvailability } from '../oci/registry.ts'

export type UpstreamRequestKind = 'manifest' | 'blob' | 'tags' | 'referrers' | 'token' | 'ping'

export type UpstreamEvent =
  /** One question, with its redirects: answered with a status, or failed. `ms` is the time to the headers. */
  | {
      event: 'request'
      host: string
      kind: UpstreamRequestKind
      status: number | undefined
      failure: UpstreamFailure | undefined
      ms: number
    }
  | { event: 'availability'; host: string; availability: UpstreamAvailability; message: string | undefined }
  | { event: 'credentials_refused'; host: string }

export type ObserveUpstream = (event: UpstreamEvent) => void
