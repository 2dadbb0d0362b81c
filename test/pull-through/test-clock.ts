/** The clock that a server under test reads: a file with milliseconds since the epoch. */
import { writeFile } from 'node:fs/promises'

/** When the clock of every test begins. */
const startMs = Date.UTC(2030, 0, 1)

export class TestClock {
  readonly file: string
  #nowMs = startMs

  constructor(file: string) {
    this.file = file
  }

  get nowMs(): number {
    return this.#nowMs
  }

  async advance(ms: number): Promise<void> {
    this.#nowMs += ms
    await this.write()
  }

  async write(): Promise<void> {
    await writeFile(this.file, String(this.#nowMs))
  }
}
