/** For what the server does after its answer, and tells nobody: ask again until it holds. */
import { setImmediate as turn } from 'node:timers/promises'

const askedMax = 5000

/** Repeat `check` until it stops throwing; after many tries its error is the test's. */
export async function eventually(check: () => Promise<void>): Promise<void> {
  for (let asked = 1; ; asked++) {
    try {
      return await check()
    } catch (error) {
      if (asked === askedMax) throw error
    }
    await turn()
  }
}
