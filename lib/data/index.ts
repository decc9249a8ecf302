export { type ArraysOptions, fromArrays, trainTest } from './arrays.js'
export type { Dataset, ImageBatch, Subset, TrainTest } from './dataset.js'
export { type AsyncIterableOptions, fromAsyncIterable, type LabelledImage } from './from-async-iterable.js'
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
export { type CifarOptions, loadCifar10, loadCifar100 } from './load-cifar.js'
export { type IdxFiles, type IdxOptions, loadIdx } from './load-idx.js'
export { type ImageFolderOptions, loadImageFolder } from './load-image-folder.js'
export { fashionMnist, type GetOptions, getKnown, type KnownOptions, mnist } from './load-known.js'
export { type SplitOptions, trainTestSplit } from './split.js'
