/** What is known of one request when it is over: for the log's line and the metrics. */
import type { Outcome } from '../registry/served.ts'

export type AccessRecord = {
  /** Unique in this process; told to the client with an error. */
  id: string
  method: string
  /** Without the query, which may hold what nobody should read. */
  path: string
  /** The kind of a registry request, or `api`. */
  kind: string
  /** Only of an organization that exists and may be read by the caller: it becomes a label of metrics. */
  organization: string | undefined
  repository: string | undefined
  /** Tag or digest. */
  reference: string | undefined
  /** 0 when the client had gone before there was an answer. */
  status: number
  outcome: Outcome | undefined
  /** Of the body, as far as it was sent. */
  bytes: number
  ms: number
  /** How much of it was waiting for the upstream. */
  upstreamMs: number
  /** User or robot name; `anonymous`; undefined when nobody asked. */
  principal: string | undefined
  address: string
  /** The client left before the answer was complete. */
  isAborted: boolean
  /** What the client was told, or what broke the answer off. */
  error: string | undefined
}

/** Called once a request, when it is over. Never throws, waits for nothing. */
export type ObserveAccess = (record: AccessRecord) => void
