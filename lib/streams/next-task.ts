import { z } from 'zod'
import type { Dataset, Subset, TrainTest } from '../data/dataset.js'
import { trainTestSchema } from '../data/schemas.js'
import { parseOptions } from '../validation/options.js'
import { buildStream, wholeAmong } from './build.js'
import { type LearnedClasses, learnedClassesSchema } from './learned-classes.js'
import type { Task } from './stream.js'

const schema = z.looseObject({ tasksLearned: z.int().min(0).max(100_000), learned: learnedClassesSchema })

/**
 * The task that follows those that a learner has learned, whose images may be gone: a new process loads the learner, and has the images of the new
 * task alone.
 *
 * ```ts
 * await using learner = await Learner.load('learner')
 * await learner.train(nextTask(data, learner), generativeDistillation(), { epochs: 100 })
 * ```
 *
 * Its number is `tasksLearned + 1`. A class that an earlier task had keeps its number, further ones come after all others. The tasks in `earlier` have
 * their classes, where these are known, no images and no `earlier` of their own: a method that learns from the images of all tasks refuses it.
 *
 * @param learner a learner, or what of one was kept elsewhere
 * @throws ContinualDiffusionError `ERR_BAD_DATA` when there is nothing to train or to test on
 *
 * @category Streams
 */
export function nextTask(
  data: TrainTest,
  learner: { readonly tasksLearned: number; readonly learned: LearnedClasses },
): Task {
  const parsed = parseOptions(trainTestSchema, data, 'nextTask: data')
  const { tasksLearned, learned } = parseOptions(schema, learner, 'nextTask: learner')
  const classes = [...new Set([...learned.names, ...parsed.train.classes])]
  const contents = wholeAmong(parsed, classes)
  const [task] = buildStream(contents.name, [contents]).tasks as [Task]
  const gone = none(task.train.dataset)
  const brought = new Map(learned.tasks.map(({ number, classes: indices }) => [number, indices]))
  const earlier = Array.from({ length: tasksLearned }, (_, i): Task => {
    const indices = brought.get(i + 1) ?? []
    const named = indices.map((c) => classes[c]).join(', ') || `task ${i + 1}`
    return { number: i + 1, name: named, classes: [...indices], train: gone, test: gone, earlier: [] }
  })
  return { ...task, number: tasksLearned + 1, earlier }
}

/** No images, of the shape and the classes of a data set. */
function none(dataset: Dataset): Subset {
  const empty = { ...dataset, name: 'images that are gone', images: new Uint8Array(0), labels: new Int32Array(0) }
  return { dataset: empty, indices: new Int32Array(0) }
}
