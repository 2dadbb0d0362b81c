/** Loaded into a server under test before its own code: it ends when whoever started it has gone, however that went. */
import { isMainThread } from 'node:worker_threads'

if (isMainThread) {
  process.stdin.once('close', () => process.kill(process.pid, 'SIGKILL')).resume()
  // Waiting for that is no reason to live on.
  if ('unref' in process.stdin && typeof process.stdin.unref === 'function') process.stdin.unref()
}
