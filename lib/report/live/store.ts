import { entryKey, type LiveEntry } from './entries.js'

/** An entry as it is sent, and the number of the change that made it. */
export interface StoredEntry {
  readonly version: number
  readonly json: string
}

/**
 * The newest entries of a run, each with the number of its last change. Whoever knows the changes up to some number asks for those after it,
 * so that nobody misses one, however often the connection breaks, and a slow reader costs no memory.
 */
export class LiveStore {
  readonly #entries = new Map<string, StoredEntry>()
  #version = 0
  #waiting: (() => void)[] = []

  get version(): number {
    return this.#version
  }

  put(entry: LiveEntry): void {
    const key = entryKey(entry)
    const json = JSON.stringify(entry)
    if (this.#entries.get(key)?.json === json) return
    this.#version++
    // The order of a map is that in which keys came: the newest change last.
    this.#entries.delete(key)
    this.#entries.set(key, { version: this.#version, json })
    this.wake()
  }

  /** The entries that have changed after so many changes, in the order of their changes. */
  since(version: number): StoredEntry[] {
    return [...this.#entries.values()].filter((entry) => entry.version > version)
  }

  /** Waits for the next change, at most so long. */
  changed(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        this.#waiting = this.#waiting.filter((other) => other !== wake)
        resolve()
      }
      const timer = setTimeout(wake, milliseconds)
      this.#waiting.push(wake)
    })
  }

  /** Ends all waiting. */
  wake(): void {
    for (const wake of this.#waiting) wake()
  }
}
