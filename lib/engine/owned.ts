import { call, disposedError } from './call.js'

/** A native object that belongs to one object of this package, until that is disposed of. */
export class Owned<Native extends { dispose(): void }> {
  readonly #what: string
  #native: Native | undefined

  /** @param what for messages, e.g. `the classifier` */
  constructor(native: Native, what: string) {
    this.#native = native
    this.#what = what
  }

  /** @throws ContinualDiffusionError `ERR_DISPOSED` after `dispose()` */
  get live(): Native {
    if (this.#native === undefined) throw disposedError(this.#what)
    return this.#native
  }

  /** Gives back its memory; doing so again does nothing. */
  dispose(): void {
    const native = this.#native
    this.#native = undefined
    if (native) call(() => native.dispose())
  }
}
