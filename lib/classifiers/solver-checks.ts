import { imageSize } from '../config/unet.js'
import { type Dataset, sizeOf } from '../data/dataset.js'
import type { ClassifierShape } from '../engine/classifier.js'
import { invalid } from '../errors.js'
import type { Learner } from '../learner/learner.js'
import type { ReplayImages } from '../learner/options.js'
import { type ImageSize, isSameSize, shownSize } from '../validation/size.js'

/** Checks of what a solver is given; each throws `ERR_INVALID_ARGUMENT`. */

/**
 * That images are of the solver's shape, and that their labels mean what they mean to it.
 *
 * @param more whether there may be further classes after the solver's
 */
export function checkImages(
  solver: ClassifierShape,
  dataset: Dataset,
  more: 'may grow' | 'as it is',
  where: string,
): void {
  const { name, classes } = dataset
  const isOther = classes.some((c, i) => i < solver.classes.length && c !== solver.classes[i])
  if (isOther || (more === 'as it is' && classes.length > solver.classes.length)) {
    const further = more === 'may grow' ? ', and further ones after these: nextTask() numbers classes so' : ''
    throw invalid(
      `${where}: the classes of ${name} are ${classes.join(', ')}; expected ${solver.classes.join(', ')}, the solver's${further}`,
    )
  }
  checkShape(solver, sizeOf(dataset), dataset.channels, `${where}: the images of ${name}`)
}

/** That a generator has learned the tasks before, and makes images of the solver's shape. */
export function checkGenerator(solver: ClassifierShape, generator: Learner, task: number, where: string): void {
  if (generator.tasksLearned !== task - 1) {
    throw invalid(
      `${where}: the generator has learned ${generator.tasksLearned} tasks; expected ${task - 1}, as it ` +
        'generates images of the earlier tasks; on each task, teach the solver before the generator',
    )
  }
  const { height, width } = imageSize(generator.unet, where)
  checkShape(solver, [height, width], generator.unet.in_channels, `${where}: the generator's images`)
}

/** That images to replay are of the solver's shape, and of a generator. */
export function checkReplay(
  solver: ClassifierShape,
  { height, width, channels }: ReplayImages,
  generator: Learner | null,
  task: number,
  where: string,
): void {
  if (generator === null && task > 1) {
    throw invalid(
      `${where}: replay is given, and the generator is null, which is to learn without replay; expected the learner that generated replay, or no replay`,
    )
  }
  checkShape(solver, [height, width], channels, `${where}: the images of replay`)
}

function checkShape(solver: ClassifierShape, size: ImageSize, channels: number, what: string): void {
  if (channels === solver.channels && isSameSize(size, solver.size)) return
  throw invalid(
    `${what} are ${shownSize(size)} × ${channels}; expected ${shownSize(solver.size)} × ${solver.channels}, for which the solver was made`,
  )
}
