/** The one place that sets timers, so that each can be cancelled and says whether it keeps the process alive. */

/** Longer timers would fire at once: Node counts them in 31 bits. */
export const timerMsMax = 2 ** 31 - 1

export interface Timer {
  /** Never call the work again. Idempotent. */
  cancel(): void
}

/** `keepsAlive`: whether the process must not end while the timer is set. Default false. */
export type TimerOptions = { keepsAlive?: boolean }

/** Call `work` once, after `ms` milliseconds. Errors: RangeError when `ms` is not from 0 to `timerMsMax`. */
export function afterMs(ms: number, work: () => void, options: TimerOptions = {}): Timer {
  checkMs(ms)
  const timeout = setTimeout(work, ms)
  if (options.keepsAlive !== true) timeout.unref()
  return { cancel: () => clearTimeout(timeout) }
}

/** Call `work` every `ms` milliseconds, whether or not what it began has ended. Errors: as `afterMs`. */
export function everyMs(ms: number, work: () => void, options: TimerOptions = {}): Timer {
  checkMs(ms)
  const interval = setInterval(work, ms)
  if (options.keepsAlive !== true) interval.unref()
  return { cancel: () => clearInterval(interval) }
}

/**
 * Resolve after `ms` milliseconds.
 * Errors: rejects with the signal's reason as soon as it is aborted; RangeError as `afterMs`.
 */
export function delayMs(ms: number, options: TimerOptions & { signal?: AbortSignal } = {}): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const { signal } = options
  if (signal?.aborted === true) {
    reject(signal.reason)
    return promise
  }
  const onAbort = () => {
    timer.cancel()
    reject(signal?.reason)
  }
  const onTime = () => {
    signal?.removeEventListener('abort', onAbort)
    resolve()
  }
  const timer = afterMs(ms, onTime, options)
  signal?.addEventListener('abort', onAbort, { once: true })
  return promise
}

function checkMs(ms: number): void {
  if (ms >= 0 && ms <= timerMsMax) return
  throw new RangeError(`cannot set a timer of ${ms} ms: expected 0 to ${timerMsMax}`)
}
