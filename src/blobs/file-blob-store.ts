/** The blob store on local files; `layout.ts` draws them. */
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readdir, readFile, stat, statfs } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { Digest } from '../oci/digest.ts'
import type { BlobDraft, BlobReader, BlobStore, ListedBlob, StoredBlob } from './blob-store.ts'
import { isCode, makeFolder, syncFolder, writeFileDurably } from './durable.ts'
import { FileBlobDraft, type PublishStep, removeFile } from './file-blob-draft.ts'
import {
  ALGORITHM_FOLDERS,
  blobFolder,
  blobPath,
  CACHE_TAG,
  CACHE_TAG_FILE,
  draftPath,
  INGEST_FOLDER,
  isLeaseId,
  LAYOUT_VERSION,
  parseBlobPath,
  parseDraftName,
  VERSION_FILE,
} from './layout.ts'

export type FileBlobStoreOptions = {
  /** The store's own folder, `<data>/blobs`; it is made when absent. */
  folder: string
  /** The lease of this process: it is in the name of each draft. Letters, digits, `_` and `-`, at most 64. */
  leaseId: string
  /** For tests that stop a publication half-way. */
  afterPublishStep?: (step: PublishStep) => Promise<void>
}

/** Open the store, making its folders. Throws when another layout version is there. */
export async function openFileBlobStore(options: FileBlobStoreOptions): Promise<BlobStore> {
  const { folder, leaseId } = options
  if (!isLeaseId(leaseId)) throw new Error('cannot open blob store: the lease id is not a plain word')
  const made = await mkdir(folder, { recursive: true, mode: 0o700 })
  if (made !== undefined) await syncNames(made, folder)
  await checkVersion(folder)
  for (const name of [INGEST_FOLDER, ...ALGORITHM_FOLDERS]) await makeFolder(join(folder, name))
  return new FileBlobStore(folder, leaseId, options.afterPublishStep ?? (async () => {}))
}

/** Make the names of all folders from `first` down to `last` durable. */
async function syncNames(first: string, last: string): Promise<void> {
  for (let path = resolve(last); path.length >= resolve(first).length; path = dirname(path)) {
    await syncFolder(dirname(path))
  }
}

async function checkVersion(folder: string): Promise<void> {
  const version = await readFile(join(folder, VERSION_FILE), 'utf8').catch((error: unknown) => {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  })
  if (version === undefined) {
    await writeFileDurably(join(folder, CACHE_TAG_FILE), CACHE_TAG)
    await writeFileDurably(join(folder, VERSION_FILE), `${LAYOUT_VERSION}\n`)
  } else if (version.trim() !== String(LAYOUT_VERSION)) {
    const found = JSON.stringify(version.slice(0, 20).trim())
    throw new Error(`cannot open blob store ${folder}: layout version ${found}, expected ${LAYOUT_VERSION}`)
  }
}

/** Names in a folder, sorted; none when it is no folder. */
async function listSorted(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (isCode(error, 'ENOENT') || isCode(error, 'ENOTDIR')) return []
    throw error
  })
  return names.sort()
}

/** Removed meanwhile. */
function ignoreMissing(error: unknown): undefined {
  if (!isCode(error, 'ENOENT')) throw error
}

class FileBlobStore implements BlobStore {
  readonly #folder: string
  readonly #leaseId: string
  readonly #afterStep: (step: PublishStep) => Promise<void>

  constructor(folder: string, leaseId: string, afterStep: (step: PublishStep) => Promise<void>) {
    this.#folder = folder
    this.#leaseId = leaseId
    this.#afterStep = afterStep
  }

  async find(digest: Digest): Promise<StoredBlob | undefined> {
    try {
      const stats = await stat(blobPath(this.#folder, digest))
      return stats.isFile() ? { digest, sizeBytes: stats.size } : undefined
    } catch (error) {
      if (isCode(error, 'ENOENT')) return undefined
      throw error
    }
  }

  async open(digest: Digest): Promise<BlobReader | undefined> {
    let handle: FileHandle
    try {
      handle = await open(blobPath(this.#folder, digest), constants.O_RDONLY | constants.O_NOFOLLOW)
    } catch (error) {
      if (isCode(error, 'ENOENT')) return undefined
      throw error
    }
    try {
      const stats = await handle.stat({ bigint: true })
      if (!stats.isFile()) throw new Error(`cannot open blob ${digest}: not a file`)
      return new FileBlobReader(handle, Number(stats.size), `${stats.ino}:${stats.mtimeNs}:${stats.size}`)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  create(): Promise<BlobDraft> {
    const path = draftPath(this.#folder, this.#leaseId, randomBytes(16).toString('hex'))
    return FileBlobDraft.create(this.#folder, path, this.#afterStep)
  }

  async delete(digest: Digest): Promise<boolean> {
    const wasThere = await removeFile(blobPath(this.#folder, digest))
    if (wasThere) await syncFolder(blobFolder(this.#folder, digest))
    return wasThere
  }

  async *list(after = ''): AsyncIterable<ListedBlob> {
    for (const algorithm of ALGORITHM_FOLDERS) {
      for (const shard of await listSorted(join(this.#folder, algorithm))) {
        if (`${algorithm}:${shard}` < after.slice(0, `${algorithm}:${shard}`.length)) continue
        for (const name of await listSorted(join(this.#folder, algorithm, shard))) {
          const digest = parseBlobPath(algorithm, shard, name)
          if (digest === undefined || digest <= after) continue // Undefined: foreign to this layout.
          const stats = await lstat(blobPath(this.#folder, digest)).catch(ignoreMissing)
          if (stats?.isFile() === true) yield { digest, sizeBytes: stats.size, modifiedAtMs: stats.mtimeMs }
        }
      }
    }
  }

  async capacity(): Promise<{ freeBytes: number; totalBytes: number }> {
    const { bavail, blocks, bsize } = await statfs(this.#folder)
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
  }

  async sweep(isEnded: (leaseId: string) => boolean): Promise<number> {
    let removed = 0
    for (const name of await readdir(join(this.#folder, INGEST_FOLDER))) {
      const leaseId = parseDraftName(name)
      if (leaseId === undefined || leaseId === this.#leaseId || !isEnded(leaseId)) continue
      if (await removeFile(join(this.#folder, INGEST_FOLDER, name))) removed += 1
    }
    return removed
  }
}

class FileBlobReader implements BlobReader {
  readonly sizeBytes: number
  readonly fingerprint: string
  readonly #handle: FileHandle
  #closing: Promise<void> | undefined

  constructor(handle: FileHandle, sizeBytes: number, fingerprint: string) {
    this.#handle = handle
    this.sizeBytes = sizeBytes
    this.fingerprint = fingerprint
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    const { bytesRead } = await this.#handle.read(buffer, 0, buffer.byteLength, position)
    return bytesRead
  }

  close(): Promise<void> {
    this.#closing ??= this.#handle.close()
    return this.#closing
  }
}
