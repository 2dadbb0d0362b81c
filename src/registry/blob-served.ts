/** Ways to serve a blob: from the store, from an ingest, from the upstream. */
import type { Digest } from '../oci/digest.ts'
import type { DirectRange } from './blob-direct-range.ts'
import type { SatisfiedRange } from './blob-range.ts'
import type { BlobShelf, ShelvedBlob } from './blob-shelf.ts'
import { BlobDamagedError, streamBlob, streamBlobVerifying } from './blob-streamer.ts'
import type { IngestReader } from './ingest-reader.ts'
import type { BlobSink, Provenance, ServedBlob } from './served.ts'

/** What is common to all: fields of `ServedBlob`. */
export type ServedHead = {
  digest: Digest
  size: number | undefined
  range: SatisfiedRange | undefined
  provenance: Provenance
}

export function serveReading(head: ServedHead, source: IngestReader | DirectRange): ServedBlob {
  return { ...head, pipe: (sink) => source.pipe(sink), close: () => source.close() }
}

/** The same, with something to be done once when it was sent or given up. */
export function whenOver(served: ServedBlob, onOver: () => void): ServedBlob {
  return {
    ...served,
    close() {
      served.close()
      onOver()
    },
    async pipe(sink) {
      try {
        await served.pipe(sink)
      } finally {
        onOver()
      }
    },
  }
}

/** From the store. The first whole read of each file is verified on the way. */
export function serveStored(head: ServedHead, blob: ShelvedBlob, shelf: BlobShelf): ServedBlob {
  let isClosed = false
  const close = () => {
    if (isClosed) return
    isClosed = true
    void blob.reader.close().catch(() => {}) // Nothing was written: there is nothing to lose.
  }
  return {
    ...head,
    close,
    async pipe(sink) {
      try {
        await send(head, blob, shelf, sink)
      } catch (error) {
        if (error instanceof BlobDamagedError) {
          await shelf.heal(head.digest, blob.reader.sizeBytes, blob.reader.fingerprint)
        }
        throw error
      } finally {
        close()
      }
    },
  }
}

async function send(head: ServedHead, blob: ShelvedBlob, shelf: BlobShelf, sink: BlobSink): Promise<void> {
  const { reader, isVerified } = blob
  const start = head.range?.start ?? 0
  const stop = head.range === undefined ? reader.sizeBytes : head.range.end + 1
  const isWhole = start === 0 && stop === reader.sizeBytes
  if (isVerified || !isWhole) {
    if (!isVerified) shelf.verifyLater(head.digest)
    await streamBlob(reader, start, stop, sink)
  } else if (await streamBlobVerifying(reader, head.digest, sink)) {
    shelf.markVerified(head.digest, reader)
  }
}
