// Makes data/fashion-mnist-subset: the first 500 training and 100 test images of every class, in their original order.
// Usage: node scripts/make-subset.mjs <folder with the four original files>
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'

const from = process.argv[2] ?? '/usr/share/datasets/fashion-mnist'
const to = new URL('../data/fashion-mnist-subset/', import.meta.url)

for (const [part, perClass] of /** @type {const} */ ([
  ['train', 500],
  ['t10k', 100],
])) {
  const images = read(`${part}-images-idx3-ubyte.gz`)
  const labels = read(`${part}-labels-idx1-ubyte.gz`)
  const pixels = images.readUInt32BE(8) * images.readUInt32BE(12)
  /** @type {Record<number, number>} */
  const counts = {}
  const kept = []
  for (const [i, label] of labels.subarray(8).entries()) {
    counts[label] = (counts[label] ?? 0) + 1
    if (counts[label] <= perClass) kept.push(i)
  }
  write(`${part}-images-idx3-ubyte.gz`, images, 16, pixels, kept)
  write(`${part}-labels-idx1-ubyte.gz`, labels, 8, 1, kept)
}

/** @param {string} name */
function read(name) {
  return gunzipSync(readFileSync(join(from, name)))
}

/**
 * @param {string} name
 * @param {Buffer} whole the original file, unpacked
 * @param {number} headerBytes
 * @param {number} itemBytes
 * @param {number[]} kept positions of the items to keep
 */
function write(name, whole, headerBytes, itemBytes, kept) {
  const header = Buffer.from(whole.subarray(0, headerBytes))
  header.writeUInt32BE(kept.length, 4)
  const items = kept.map((i) => whole.subarray(headerBytes + i * itemBytes, headerBytes + (i + 1) * itemBytes))
  writeFileSync(new URL(name, to), gzipSync(Buffer.concat([header, ...items]), { level: 9 }))
}
