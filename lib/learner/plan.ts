import { countImages, type Subset } from '../data/dataset.js'
import { invalid } from '../errors.js'
import type { Method } from '../methods/objective.js'
import { objectiveOf } from '../methods/objective-schema.js'
import { countSteps } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { checkBatch, checkDiffuses, checkImages, checkKeeps, checkTerms } from './checks.js'
import type { Core } from './core.js'
import { checkLabels, checkNullLabel, labelWeights } from './labels.js'
import type { LearnOptions } from './learn-options.js'
import { subsetsOf } from './memory.js'
import { checkPoolClasses, checkPoolSizes, generatedAtOnce, planPools } from './plan-pools.js'
import { type LearnedTask, learnSchema } from './schemas.js'
import { drawingAt, planTimesteps } from './timesteps.js'
import { planValidation } from './validation.js'

/** What is to be known of a task to say what it is learned from. */
interface TaskImages {
  readonly train: Subset
  readonly earlier: readonly { readonly train: Subset }[]
}

/** The images of tasks that a method learns a task from. */
function learnedFrom({ data }: Method, task: TaskImages): Subset[] {
  return (data === 'cumulative' ? [...task.earlier, task] : [task]).map(({ train }) => train)
}

/** How many steps a task has, by the options that say so. */
export function taskSteps(
  method: Method,
  task: TaskImages,
  { steps, epochs, batchSize }: { steps?: number | undefined; epochs?: number | undefined; batchSize: number },
  where: string,
): number {
  const perEpoch = method.epochOf === 'task' ? task.train.indices.length : countImages(learnedFrom(method, task))
  return steps ?? countSteps(epochs as number, perEpoch, batchSize, where)
}

/** Checks all that a task's training is made of. */
export function planTask(core: Core, given: LearnedTask, method: Method, options: LearnOptions, where: string) {
  const { unet, schedule } = core.settings
  const parsed = parseOptions(learnSchema, options, where)
  const { epochs, memory = subsetsOf(core.memory), signal, resume, grow, ...others } = parsed
  const { onStep, onValidation, callback, callbackEvery, classifier, onPool, validation: wanted, ...rest } = others
  const {
    batchSize,
    accumulate = 1,
    lrSchedule,
    timesteps,
    horizontalFlip,
    optimizer,
    labelDropout,
    replayLabels,
  } = rest
  const { lr, betas, eps, weightDecay, decoupledWeightDecay, clipGradNorm } = rest
  const isCumulative = method.data === 'cumulative'
  const { task, validation } = planValidation(core, given, wanted, { isCumulative, grow, where })
  const subsets = learnedFrom(method, task)
  checkDiffuses(core, 'learn', where)
  checkImages(unet, subsets, where)
  checkImages(unet, memory, `${where}: memory`)
  const { names, growth } = checkLabels(core, [...subsets, ...memory], { labelDropout, grow }, where)
  checkBatch(core, batchSize, 'training', where)
  const ofTask = (number: number) => drawingAt(objectiveOf(method, number, schedule.timesteps, where), timesteps)
  const k = core.learnedBefore + task.number
  const objective = ofTask(k)
  // What is wrong with the terms for earlier tasks is to be known before the first task is learned.
  const replaying = k === 1 ? ofTask(2) : objective
  checkTerms(core, objective, memory, where)
  checkNullLabel(core, replaying, labelDropout, k === 1, where)
  planTimesteps(replaying, schedule, where)
  const keeps = method.keeps ?? {}
  checkKeeps(keeps, task, schedule.timesteps, where)
  if (task.train.indices.length === 0) {
    throw invalid(`${where}: the task has no images to train on; expected at least one`)
  }
  if (subsets.some(({ indices }) => indices.length === 0)) {
    throw invalid(
      `${where}: the method learns from the images of all tasks so far, and an earlier task has none; expected them in task.earlier, or a ` +
        'method that learns from the new images, e.g. recommended() or generativeDistillation()',
    )
  }
  const drawn = batchSize * accumulate
  const steps = taskSteps(method, task, { steps: parsed.steps, epochs, batchSize: drawn }, where)
  const change = typeof resume === 'object' ? resume.change : []
  // A task may be ended during its warm-up.
  const isEnded = change.includes('steps') && core.inProgress?.step === steps
  if (lrSchedule && lrSchedule.warmup >= steps && !isEnded) {
    throw invalid(`${where}: lrSchedule.warmup is ${lrSchedule.warmup}; expected fewer than the task's steps, ${steps}`)
  }
  const keepOptimizer = (optimizer ?? method.optimizer) === 'keep'
  if (keepOptimizer && method.weights === 'fresh') {
    throw invalid(`${where}: optimizer is 'keep', but each task begins with fresh weights; expected 'reset'`)
  }
  if (k === 1) planPools(core.settings, replaying, { steps, batchSize: drawn }, where)
  const { pools, numbers } = planPools(core.settings, objective, { steps, batchSize: drawn }, where)
  checkPoolSizes(unet, pools, steps, where)
  checkPoolClasses(unet, pools, classifier, where)
  const settings = {
    ...{ method: method.name, objective, keeps, ...rest, steps },
    ...(validation && { validation: { ...wanted, images: undefined } }),
    optimizer: keepOptimizer ? 'keep' : 'reset',
  }
  const generates = objective.terms.some(({ source }) => source.kind === 'teacher' || source.kind === 'gaussian')
  const weights = labelWeights(core, replayLabels, names, generates, where)
  const batch = {
    batchSize: drawn,
    accumulate,
    horizontalFlip,
    ...(weights && { labels: { dropout: labelDropout, weights } }),
  }
  // The table's last row, once it has grown for this task.
  const nullLabel = (growth?.rows ?? unet.num_class_embeds ?? 0) - 1
  const filling = { classifier, weights, nullLabel, batchSize: generatedAtOnce(batchSize), onPool, signal }
  return {
    k,
    task,
    validation,
    onValidation,
    subsets,
    memory,
    objective,
    pools,
    numbers,
    timesteps: planTimesteps(objective, schedule, where),
    keeps,
    steps,
    batch,
    adam: {
      lr,
      betas,
      eps,
      weightDecay,
      decoupledWeightDecay,
      clipGradNorm,
      ...(lrSchedule && { lrSchedule: { ...lrSchedule, steps } }),
    },
    keepOptimizer,
    names,
    growth,
    labelDropout,
    settings,
    filling,
    resume: resume !== false,
    change,
    onStep,
    callback,
    callbackEvery: callbackEvery ?? Number.POSITIVE_INFINITY,
  }
}
