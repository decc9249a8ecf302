export { type ArraysOptions, fromArrays, trainTest } from './arrays.js'
export type { Dataset, ImageBatch, Subset, TrainTest } from './dataset.js'
export { formatIdx, type IdxArray, parseIdx, readIdx, readIdxShape } from './idx.js'
export {
  cachePath,
  type KnownFile,
  type KnownName,
  type KnownSource,
  knownSource,
  knownSources,
  locate,
  type Place,
  type PlacesOptions,
} from './known.js'
export { type IdxFiles, type IdxOptions, loadIdx } from './load-idx.js'
export { fashionMnist, type GetOptions, getKnown, type KnownOptions, mnist } from './load-known.js'
