/** One stored blob verified with its real digest, forgotten when it is damaged or missing, and fetched again. */
import type { BlobReader, BlobStore } from '../blobs/blob-store.ts'
import { RegistryError } from '../errors.ts'
import { findStoredBlob } from '../metadata/blobs.ts'
import type { Metadata } from '../metadata/open.ts'
import { listNamingHolders, type StoredBlobRow } from '../metadata/stored-blobs.ts'
import type { Digest } from '../oci/digest.ts'
import type { BlobShelf } from './blob-shelf.ts'
import { BlobDamagedError, streamBlobVerifying } from './blob-streamer.ts'
import type { CompletedOrganization, CompletionEnd } from './completion.ts'
import { VERIFICATION_LIMITS, type VerificationProgress } from './verification-state.ts'

export type BlobVerificationDeps = {
  metadata: Metadata
  store: BlobStore
  shelf: Pick<BlobShelf, 'heal' | 'markVerified'>
  findOrganization: (id: number) => Promise<CompletedOrganization | undefined>
}

/** `pause` lets the traffic go first; it rejects when the verification is cancelled. */
export type Verifying = { progress: VerificationProgress; signal: AbortSignal; pause: (bytes: number) => Promise<void> }

type Verdict =
  | { kind: 'whole' | 'missing' }
  | { kind: 'damaged'; fingerprint: string; reason: string }
  | { kind: 'unreadable'; reason: string }

/** Hash a blob. Errors: the signal's reason; what the database says. */
export async function verifyBlob(deps: BlobVerificationDeps, row: StoredBlobRow, verifying: Verifying): Promise<void> {
  const verdict = await judge(deps, row, verifying)
  await act(deps, row, verdict, verifying.progress, verifying.signal)
}

/** Look whether a blob's file is there and as long as it must be. Errors: as `verifyBlob`. */
export async function lookAtBlob(deps: BlobVerificationDeps, row: StoredBlobRow, verifying: Verifying): Promise<void> {
  const found = await deps.store.find(row.digest)
  if (found?.sizeBytes === row.sizeBytes) return
  if ((await findStoredBlob(deps.metadata.db, row.digest)) === undefined) return
  if (found === undefined) verifying.progress.counts.rowsWithoutFile += 1
  await verifyBlob(deps, row, verifying)
}

async function judge(deps: BlobVerificationDeps, row: StoredBlobRow, verifying: Verifying): Promise<Verdict> {
  const { digest, sizeBytes } = row
  let reader: BlobReader | undefined
  try {
    reader = await deps.store.open(digest)
  } catch (error) {
    return { kind: 'unreadable', reason: `the store cannot open it: ${messageOf(error)}` }
  }
  if (reader === undefined) return { kind: 'missing' }
  const { fingerprint } = reader
  if (reader.sizeBytes !== sizeBytes) {
    await reader.close()
    return { kind: 'damaged', fingerprint, reason: `it has ${reader.sizeBytes} bytes instead of ${sizeBytes}` }
  }
  try {
    const sink = {
      write: async (block: Uint8Array) => {
        verifying.progress.bytesChecked += block.byteLength
        await verifying.pause(block.byteLength)
        return true
      },
    }
    await streamBlobVerifying(reader, digest, sink)
    deps.shelf.markVerified(digest, reader)
    return { kind: 'whole' }
  } catch (error) {
    if (!(error instanceof BlobDamagedError)) throw error
    return { kind: 'damaged', fingerprint, reason: error.message }
  } finally {
    await reader.close()
  }
}

async function act(
  deps: BlobVerificationDeps,
  row: StoredBlobRow,
  verdict: Verdict,
  progress: VerificationProgress,
  signal: AbortSignal,
): Promise<void> {
  const { digest, sizeBytes } = row
  if (verdict.kind === 'whole') return
  if (verdict.kind === 'unreadable') {
    progress.add('notRepaired', { digest, reason: verdict.reason })
    return
  }
  // Rows go before their bytes: without a row by now, somebody has just removed it.
  if ((await findStoredBlob(deps.metadata.db, digest)) === undefined) return
  const fingerprint = verdict.kind === 'damaged' ? verdict.fingerprint : undefined
  progress.add(verdict.kind, verdict.kind === 'damaged' ? { digest, reason: verdict.reason } : { digest })
  const holders = await listNamingHolders(deps.metadata.db, digest)
  await deps.shelf.heal(digest, sizeBytes, fingerprint)
  for (const holder of holders) {
    const { organizationName: organization } = holder
    const reason = progress.repairs
      ? await fetchAgain(deps, holder, digest, signal)
      : 'repairing was switched off; the next pull fetches it'
    if (reason === undefined) progress.add('repaired', { digest, organization })
    else progress.add('notRepaired', { digest, organization, reason })
  }
}

/** Undefined when the organization has the blob again; else why not. */
async function fetchAgain(
  deps: BlobVerificationDeps,
  holder: { organizationId: number; repositoryIds: readonly number[] },
  digest: Digest,
  signal: AbortSignal,
): Promise<string | undefined> {
  const organization = await deps.findOrganization(holder.organizationId)
  if (organization === undefined) return 'the organization is gone'
  let reason = 'the organization has no upstream'
  for (const id of holder.repositoryIds.slice(0, VERIFICATION_LIMITS.repositoriesMax)) {
    const name = await organization.repositoryName(id)
    if (name === undefined) continue
    const problem = await complete(() => organization.blobs.complete({ id, name }, digest), signal)
    if (problem === undefined) return undefined
    reason = problem
  }
  return reason
}

/** Errors: the signal's reason; what is being received then goes on behind it. */
async function complete(work: () => Promise<CompletionEnd>, signal: AbortSignal): Promise<string | undefined> {
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', onAbort)
  try {
    signal.throwIfAborted()
    return problemOf(await Promise.race([work(), aborted.promise]))
  } catch (error) {
    if (signal.aborted) throw error
    return error instanceof RegistryError ? 'the organization is frozen, or has no upstream' : messageOf(error)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

function problemOf(end: CompletionEnd): string | undefined {
  switch (end.kind) {
    case 'published':
    case 'held':
      return undefined
    case 'unstored':
      return 'it was fetched and could not be stored'
    case 'unwanted':
      return 'it is a foreign layer, or no manifest names it any more'
    case 'failed':
      return messageOf(end.error)
    default:
      throw new Error(`unhandled end of a completion: ${JSON.stringify(end satisfies never)}`)
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown error'
}
