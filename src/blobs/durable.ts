/** Names in a folder are durable only once the folder itself has been synced. */
import { mkdir, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Make `path`, whose parent exists, and make its name durable; nothing when it is there already. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    if (isCode(error, 'EEXIST')) return
    throw error
  }
  await syncFolder(dirname(path))
}

/** Write a small file so that after a crash it is there whole or not at all. */
export async function writeFileDurably(path: string, text: string): Promise<void> {
  const draft = `${path}.new`
  const handle = await open(draft, 'w', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(draft, path)
  await syncFolder(dirname(path))
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
