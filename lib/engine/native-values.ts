/** A float32 tensor as it crosses the binding. */
export interface NativeTensor {
  readonly data: Float32Array
  readonly shape: readonly number[]
}

/**
 * Set element 0 to non-zero to cancel; the engine polls it between steps and between denoising steps. In element 1, where there is one, `sample` says how much
 * is done, in 10,000ths.
 */
export type CancelFlag = Int32Array

/** A data set resident on a device. */
export interface NativeImages {
  readonly count: number
  /** Brings further images, as they are stored, to the places from `from` on. */
  write(part: NativeStoredImages & { readonly from: number }): Promise<void>
  dispose(): void
}

/** Images as a data set stores them, uint8 N × height × width × channels; or float32 N × channels × height × width. */
export interface NativeStoredImages {
  readonly images: Uint8Array | Float32Array
  readonly height: number
  readonly width: number
  readonly channels: number
}

/** Images to draw from: resident sets with the positions used of each. */
export type NativePool = readonly { readonly images: NativeImages; readonly indices: Int32Array }[]
