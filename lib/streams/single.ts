import type { TrainTest } from '../data/dataset.js'
import { trainTestSchema } from '../data/schemas.js'
import { parseOptions } from '../validation/options.js'
import { allClasses, buildStream, nameOfBoth, whole } from './build.js'
import type { Stream } from './stream.js'

/**
 * All data in one task: ordinary training.
 *
 * @category Streams
 */
export function single(data: TrainTest): Stream {
  const { train, test } = parseOptions(trainTestSchema, data, 'single: data')
  const name = nameOfBoth(train.name)
  return buildStream(name, [{ name, classes: allClasses(train), train: whole(train), test: whole(test) }])
}
