import { z } from 'zod'
import { type Dataset, sizeOf, type TrainTest } from '../data/dataset.js'
import { trainTestSchema } from '../data/schemas.js'
import { ContinualDiffusionError } from '../errors.js'
import { parseOptions } from '../validation/options.js'
import { shownSize } from '../validation/size.js'
import { buildStream, wholeAmong } from './build.js'
import type { Stream } from './stream.js'

/**
 * Each task is a whole data set. Classes with the same name in several data sets are one class. The labels of every task are indices into
 * the classes of all data sets together.
 *
 * @param data the data sets in the order of the tasks. Their images must have the same number of channels and, once resized, the same sides
 * @throws ContinualDiffusionError `ERR_BAD_DATA` when the images of the data sets differ in shape
 *
 * @category Streams
 */
export function fromDatasets(data: readonly TrainTest[]): Stream {
  const [first] = parseOptions(z.array(trainTestSchema), data, 'fromDatasets: data')
  if (first === undefined) {
    throw new ContinualDiffusionError('ERR_INVALID_ARGUMENT', 'fromDatasets: there are no data sets; give at least one')
  }
  for (const { train } of data) {
    if (shape(train) !== shape(first.train)) {
      throw new ContinualDiffusionError(
        'ERR_BAD_DATA',
        `fromDatasets: the images of ${train.name} are ${shape(train)}; expected ${shape(first.train)}, as those of ` +
          `${first.train.name}. Give all data sets the same size and channels.`,
      )
    }
  }
  const classes = [...new Set(data.flatMap(({ train }) => train.classes))]
  const tasks = data.map((one) => wholeAmong(one, classes))
  return buildStream(tasks.map(({ name }) => name).join(' → '), tasks)
}

/** Height × width × channels as the learner gets them. */
function shape(dataset: Dataset): string {
  return `${shownSize(sizeOf(dataset))} × ${dataset.channels}`
}
