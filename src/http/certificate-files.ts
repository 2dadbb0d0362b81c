/** The server's certificate and key, read again when their files change. */
import { watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createSecureContext } from 'node:tls'
import { afterMs, everyMs, type Timer } from '../base/timers.ts'
import { MINUTE_MS } from '../base/units.ts'

export type CertificateFiles = { certificateFile: string; keyFile: string }
export type CertificatePair = { cert: string; key: string }

/** Watches miss changes on some file systems: so often the files are read in any case. */
const pollMs = MINUTE_MS
/** Both files are written one after the other: wait until it is quiet. */
const settleMs = 200

/** Errors: Error that names the files, when they cannot be read or do not belong together. */
export async function readCertificate(files: CertificateFiles): Promise<CertificatePair> {
  const { certificateFile, keyFile } = files
  try {
    const [cert, key] = await Promise.all([readFile(certificateFile, 'utf8'), readFile(keyFile, 'utf8')])
    // A file that is just being written is empty, and to OpenSSL an empty text is none.
    if (cert === '' || key === '') throw new Error('a file is empty')
    createSecureContext({ cert, key }) // Throws when they are no PEM, or the key is another certificate's.
    return { cert, key }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`cannot use ${certificateFile} with ${keyFile}: ${reason}`, { cause: error })
  }
}

export interface CertificateWatch {
  /** Read the files now. */
  check(): Promise<void>
  close(): void
}

/** Calls `onChange` with each new usable pair; what is not usable goes to `onFailure` and the old one stays. */
export function watchCertificate(
  files: CertificateFiles,
  current: CertificatePair,
  onChange: (pair: CertificatePair) => void,
  onFailure: (error: unknown) => void,
): CertificateWatch {
  let used = current
  let settling: Timer | undefined
  const check = async () => {
    try {
      const pair = await readCertificate(files)
      if (pair.cert === used.cert && pair.key === used.key) return
      onChange(pair)
      used = pair
    } catch (error) {
      onFailure(error)
    }
  }
  const onEvent = () => {
    settling?.cancel()
    settling = afterMs(settleMs, () => void check())
  }
  // Folders, since files are often replaced by renaming (Kubernetes: by a symbolic link).
  const folders = new Set([dirname(files.certificateFile), dirname(files.keyFile)])
  const watchers = [...folders].map((folder) => watch(folder, { persistent: false }, onEvent).on('error', () => {}))
  const poll = everyMs(pollMs, () => void check())
  return {
    check,
    close() {
      settling?.cancel()
      poll.cancel()
      for (const watcher of watchers) watcher.close()
    },
  }
}
