/** The numbers of an ingest (DESIGN part 4, *Blobs: one ingest, many readers*). */
import { KiB, MINUTE_MS, MiB, SECOND_MS } from '../base/units.ts'

export const INGEST_LIMITS = {
  /** What is hashed, written and handed on at once. */
  blockBytes: 256 * KiB,
  /** What may arrive while the draft is being made. */
  earlyBytesMax: 256 * KiB,
  /** Blocks kept in memory for readers that keep up: 4 MiB an ingest. */
  ringBlocksMax: 16,
  /** Blocks on their way to the disk; then the upstream is paused. Fewer than the ring holds. */
  writesMax: 8,
  /** What no reader gets before the digest is verified. */
  heldBackBytes: 64 * KiB,
  /** A range this far ahead of what has arrived waits for the ingest. */
  rangeAheadBytesMax: 16 * MiB,
  /** Ranges further ahead that are asked of the upstream at a time, for one blob. */
  directRangesMax: 2,
  /** Tries in a row that bring no byte. */
  fruitlessTriesMax: 5,
  /** The pause before the first of them; it doubles with each. */
  resumeDelayMs: 100,
  /** The longest `Retry-After` that a broken ingest waits for. */
  retryAfterMsMax: MINUTE_MS,
  /** Without a store everybody waits for the slowest reader: one that takes nothing for so long is cut. */
  stallMsMax: 30 * SECOND_MS,
  /** The most that is handed to one reader at once while others may wait for it. */
  straightSliceBytes: 64 * KiB,
  /** How often an ingest asks again whether there is still room. */
  roomCheckBytes: 64 * MiB,
} as const

/** Wait; rejects when the signal is aborted. */
export type Delay = (ms: number, options?: { signal?: AbortSignal }) => Promise<void>

/** What happened, for logs and metrics; `fields` hold no secret. */
export type BlobEvents = (event: BlobEvent, fields: Record<string, unknown>) => void

export type BlobEvent =
  | 'ingest_started'
  | 'ingest_resumed'
  | 'ingest_straight_through'
  | 'ingest_verified'
  | 'ingest_published'
  | 'ingest_failed'
  | 'digest_mismatch'
  | 'publish_failed'
  | 'reader_cut'
  | 'direct_range_failed'
  | 'blob_damaged'
  | 'blob_reused'
  | 'blobs_removed'
  | 'store_failed'
  | 'completion_failed'
  | 'completion_given_up'
