/** The one place that reads the time, so that tests can set it. */

/** Milliseconds since the epoch. Everything that stores or compares instants is handed one of these. */
export type Clock = () => number

export const systemClock: Clock = () => Date.now()

/** Milliseconds that only grow, for durations; unaffected by changes of the wall clock. */
export function monotonicMs(): number {
  return performance.now()
}
