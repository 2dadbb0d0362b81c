/** Ids of requests: in the log's line, and told to the client with an error, so that one finds the other. */
import { randomBytes } from 'node:crypto'

/** Unique in this process and, very likely, between processes. */
export function makeRequestIds(): () => string {
  const prefix = randomBytes(4).toString('hex')
  let count = 0
  return () => `${prefix}-${(++count).toString(36)}`
}
