import { hasClassTable } from '../config/unet.js'
import { invalid } from '../errors.js'
import { taskSteps } from '../learner/plan.js'
import { checkPoolSizes, planPools } from '../learner/plan-pools.js'
import { objectiveOf } from '../methods/objective-schema.js'
import type { Stream } from '../streams/stream.js'
import type { ExperimentConfig } from './config.js'
import type { ResolvedMethod } from './methods.js'

/**
 * Checks a method against the data that it will learn from.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a memory that is larger than the first task's data, a replay pool that is too large, or more
 *   classes than the U-Net's table has rows for
 */
export function checkMethodOn(
  { label, method }: ResolvedMethod,
  stream: Stream,
  config: Pick<ExperimentConfig, 'unet' | 'schedule' | 'train' | 'from'>,
): void {
  const { name, tasks } = stream
  const { unet, schedule, train, from } = config
  checkTable(config, stream)
  const size = method.keeps?.memory?.size ?? 0
  const images = tasks[0]?.train.indices.length ?? 0
  if (size > images) {
    throw invalid(
      `${label}: size is ${size}; expected at most ${images}, the images of the first task of ${name}: a memory can't be ` +
        'larger than the data of the first task',
    )
  }
  const batchSize = train.batchSize * (train.accumulate ?? 1)
  const epochs = train.epochs && train.epochs * (1 - (train.validation?.fraction ?? 0))
  for (const task of tasks) {
    const k = (from?.learnedBefore ?? 0) + task.number
    const where = `${label}, task ${task.number}`
    const steps = taskSteps(method, task, { steps: train.steps, epochs, batchSize }, where)
    const objective = objectiveOf(method, k, schedule.timesteps, where)
    checkPoolSizes(unet, planPools({ unet, schedule }, objective, { steps, batchSize }, where).pools, steps, where)
  }
}

/** Checks that a table of classes has a row for each class of the data. */
function checkTable({ unet, train }: Pick<ExperimentConfig, 'unet' | 'train'>, { name, tasks }: Stream): void {
  if (!hasClassTable(unet) || train.grow) return
  const classes = Math.max(0, ...tasks.map((task) => task.train.dataset.classes.length))
  const needed = classes + (train.labelDropout > 0 ? 1 : 0)
  if (needed <= unet.num_class_embeds!) return
  throw invalid(
    `unet.num_class_embeds is ${unet.num_class_embeds}; expected at least ${needed}, as ${name} has ${classes} classes` +
      `${needed > classes ? ' and there is the null label' : ''}; or train.grow: true`,
  )
}
