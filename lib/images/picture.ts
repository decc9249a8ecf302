import type { ImageBatch } from '../data/dataset.js'

/**
 * Images as a picture can show them: those of 1 (grey), 2 (grey, alpha), 3 (RGB) and 4 (RGBA) channels as they are; of those with more channels
 * each channel in grey, side by side from left to right.
 */
export function picturesOf(images: ImageBatch): ImageBatch {
  const { data, count, height, width, channels } = images
  if (channels <= 4) return images
  const grey = new Uint8Array(data.length)
  for (let n = 0; n < count * height; n++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) grey[(n * channels + c) * width + x] = data[(n * width + x) * channels + c]!
    }
  }
  return { data: grey, count, height, width: width * channels, channels: 1 }
}
