import { z } from 'zod'
import type { TrainTest } from '../data/dataset.js'
import { classIncremental, tasksSchema } from '../streams/class-incremental.js'
import { dataIncremental, shareCountSchema } from '../streams/data-incremental.js'
import { type Domain, domainIncremental, permuted, rotated, unchanged } from '../streams/domain-incremental.js'
import { fromDatasets } from '../streams/from-datasets.js'
import { single } from '../streams/single.js'
import type { Stream } from '../streams/stream.js'
import { seedSchema } from '../validation/fields.js'

const domainSchema = z.union(
  [z.literal('unchanged'), z.strictObject({ rotate: z.number() }), z.strictObject({ permute: seedSchema })],
  "expected 'unchanged', { rotate: degrees } or { permute: seed }",
)

const kinds = ['class-incremental', 'domain-incremental', 'data-incremental', 'from-datasets', 'single'] as const

/** The stream of an experiment: its kind, and what that kind needs. */
export const streamSchema = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({
      /** Default `class-incremental`. */
      kind: z
        .literal('class-incremental')
        .optional()
        .transform(() => 'class-incremental' as const),
      /** Number of tasks, which divides the number of classes, or how many classes each task brings, e.g. `[3, 2, 2]`. Default 5. */
      tasks: tasksSchema.default(5),
      /** Class indices in the order of learning. Default: shuffled by each seed, as the paper's experiments do. */
      order: z.array(z.int().min(0)).optional(),
    }),
    z.strictObject({
      kind: z.literal('domain-incremental'),
      /** One per task: `unchanged`, `{ rotate: degrees }` or `{ permute: seed }`. */
      domains: z.array(domainSchema).min(1),
    }),
    z.strictObject({
      kind: z.literal('data-incremental'),
      /** Number of tasks; the images are dealt out by each seed. Default 5. */
      tasks: shareCountSchema.default(5),
    }),
    // One task for each data set: `data` is then a list of them.
    z.strictObject({ kind: z.literal('from-datasets') }),
    z.strictObject({ kind: z.literal('single') }),
  ],
  `expected an object whose kind is one of ${kinds.join(', ')}`,
)

export type StreamConfig = z.output<typeof streamSchema>

/** How many tasks a stream will have, before any data is there. */
export function taskCount(stream: StreamConfig, dataSets: number): number {
  if (stream.kind === 'domain-incremental') return stream.domains.length
  if (stream.kind === 'from-datasets') return dataSets
  if (stream.kind === 'single') return 1
  return typeof stream.tasks === 'number' ? stream.tasks : stream.tasks.length
}

/** Whether each seed learns another stream. */
export function isSeeded(stream: StreamConfig): boolean {
  if (stream.kind === 'class-incremental') return stream.order === undefined
  return stream.kind === 'data-incremental'
}

/**
 * The stream that one seed learns.
 *
 * @param data one data set, or for `from-datasets` one per task
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` or `ERR_BAD_DATA` when the stream can't be made of the data,
 *   e.g. because a task would have no images
 */
export function makeStream(config: StreamConfig, data: readonly TrainTest[], seed: number): Stream {
  const whole = data[0] as TrainTest
  switch (config.kind) {
    case 'class-incremental': {
      const { tasks, order } = config
      return classIncremental(whole, order === undefined ? { tasks, seed } : { tasks, order })
    }
    case 'domain-incremental':
      return domainIncremental(whole, { domains: config.domains.map(domainOf) })
    case 'data-incremental':
      return dataIncremental(whole, { tasks: config.tasks, seed })
    case 'from-datasets':
      return fromDatasets(data)
    case 'single':
      return single(whole)
  }
}

function domainOf(domain: z.output<typeof domainSchema>): Domain {
  if (domain === 'unchanged') return unchanged()
  return 'rotate' in domain ? rotated(domain.rotate) : permuted(domain.permute)
}
