/** A blob being received into a file of the store's `ingest` folder. */
import { constants } from 'node:fs'
import { type FileHandle, open, rename, stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Digest } from '../oci/digest.ts'
import type { BlobDraft } from './blob-store.ts'
import { isCode, makeFolder, syncFolder } from './durable.ts'
import { blobFolder, blobPath } from './layout.ts'

/** Where `publish` can stop; tests stop it after each. */
export type PublishStep = 'synced' | 'folder_made' | 'renamed' | 'folder_synced'

export class FileBlobDraft implements BlobDraft {
  readonly #folder: string
  readonly #path: string
  readonly #handle: FileHandle
  readonly #afterStep: (step: PublishStep) => Promise<void>
  #state: 'open' | 'broken' | 'published' | 'discarded' = 'open'
  #closing: Promise<void> | undefined

  private constructor(
    folder: string,
    path: string,
    handle: FileHandle,
    afterStep: (step: PublishStep) => Promise<void>,
  ) {
    this.#folder = folder
    this.#path = path
    this.#handle = handle
    this.#afterStep = afterStep
  }

  static async create(
    folder: string,
    path: string,
    afterStep: (step: PublishStep) => Promise<void>,
  ): Promise<FileBlobDraft> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
    return new FileBlobDraft(folder, path, await open(path, flags, 0o600), afterStep)
  }

  async write(block: Uint8Array, position: number): Promise<void> {
    if (this.#state !== 'open') throw new Error(`cannot write draft: it is ${this.#state}`)
    try {
      let written = 0
      while (written < block.byteLength) {
        const result = await this.#handle.write(block, written, block.byteLength - written, position + written)
        // A short write is a full disk's way of saying so; the next one throws, or takes the rest.
        if (result.bytesWritten === 0) throw new Error('cannot write draft: the file system took no byte')
        written += result.bytesWritten
      }
    } catch (error) {
      if (this.#state === 'open') this.#state = 'broken'
      throw error
    }
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    const { bytesRead } = await this.#handle.read(buffer, 0, buffer.byteLength, position)
    return bytesRead
  }

  async publish(digest: Digest): Promise<void> {
    if (this.#state === 'published') return
    if (this.#state !== 'open') throw new Error(`cannot publish draft: it is ${this.#state}`)
    await this.#handle.sync()
    await this.#afterStep('synced')
    const folder = blobFolder(this.#folder, digest)
    await makeFolder(folder)
    await this.#afterStep('folder_made')
    await this.#moveTo(blobPath(this.#folder, digest))
    this.#state = 'published'
    await this.#afterStep('renamed')
    await syncFolder(folder)
    await this.#afterStep('folder_synced')
  }

  async discard(): Promise<void> {
    if (this.#state === 'published' || this.#state === 'discarded') return
    this.#state = 'discarded'
    await removeFile(this.#path)
  }

  close(): Promise<void> {
    this.#closing ??= this.#handle.close()
    return this.#closing
  }

  /** What is there already holds the same bytes, unless its size shows that it is damaged. */
  async #moveTo(target: string): Promise<void> {
    const existing = await stat(target).catch((error: unknown) => {
      if (isCode(error, 'ENOENT')) return undefined
      throw error
    })
    const { size } = await this.#handle.stat()
    if (existing?.isFile() === true && existing.size === size) await removeFile(this.#path)
    else await rename(this.#path, target)
    await syncFolder(dirname(this.#path))
  }
}

/** Remove a file; false when there was none. */
export async function removeFile(path: string): Promise<boolean> {
  try {
    await unlink(path)
    return true
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false
    throw error
  }
}
