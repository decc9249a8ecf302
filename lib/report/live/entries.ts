/** What the page of a run under way is told: each entry takes the place of the one before with the same key, see {@link entryKey}. */
export type LiveEntry =
  | {
      readonly topic: 'run'
      readonly title: string
      readonly folder: string
      /** The methods with the numbers of their colours, see colors.ts. */
      readonly methods: readonly { readonly label: string; readonly series: number }[]
      readonly seeds: readonly number[]
      readonly metrics: Readonly<Record<string, string>>
      /** Device, precision, number of parameters; empty before the first learner is made. */
      readonly about: string
    }
  | ({ readonly topic: 'status' } & LiveStatus)
  | ({ readonly topic: 'found' } & LiveFound)
  | ({ readonly topic: 'curve' } & LiveCurve)
  | {
      /** Grids of the weights of the task in progress, oldest first; `file` is relative to the run folder. */
      readonly topic: 'samples'
      readonly method: string
      readonly seed: number
      readonly task: number
      readonly grids: readonly { readonly step: number; readonly file: string }[]
    }
  | { readonly topic: 'log'; readonly lines: readonly LiveLine[] }

/** There is one curve of each task, one table of each method and seed, and one entry of every other topic. */
export function entryKey(entry: LiveEntry): string {
  if (entry.topic === 'curve') return JSON.stringify([entry.topic, entry.method, entry.seed, entry.task])
  if (entry.topic === 'found') return JSON.stringify([entry.topic, entry.method, entry.seed])
  return entry.topic
}

/** How a run is, and how far. */
export interface LiveStatus {
  /** `silent`: nothing was heard of it for so long that it was probably killed. */
  readonly state: 'waiting' | 'running' | 'silent' | 'stopped' | 'failed' | 'complete'
  readonly message?: string | undefined
  readonly progress?: LiveProgress | undefined
}

/**
 * A part of a run: one task of one method with one seed.
 *
 * @category Runs
 */
export interface Part {
  readonly method: string
  readonly seed: number
  /** The task's number, from 1. */
  readonly task: number
  /** Number of tasks in the stream. */
  readonly tasks: number
  /** Number of this part within the run, from 1, in the order of training. A shared first task counts once. */
  readonly part: number
  /** Number of parts in the run. */
  readonly parts: number
}

export interface LiveProgress {
  readonly doing: 'classifier' | 'pool' | 'solver' | 'learn' | 'evaluate'
  /** Part of this that is done, 0 … 1. */
  readonly fraction: number
  readonly part?: Part
  readonly step?: number
  readonly steps?: number
  readonly loss?: number
  readonly gradNorm?: number
  readonly lr?: number
  readonly stepsPerSecond?: number
  /** Bytes now, and at most so far. */
  readonly memory?: { readonly used: number; readonly peak: number }
  readonly taskSecondsLeft?: number
  readonly runSecondsLeft?: number | undefined
}

/** What a method has found with a seed, task after task. */
export interface LiveFound {
  readonly method: string
  readonly seed: number
  readonly tasks: readonly {
    readonly task: number
    readonly name: string
    readonly seconds: number
    readonly metrics: Readonly<Record<string, number | null>>
    /** PNG files relative to the run folder. */
    readonly samples: string
    readonly realSamples: string
    readonly sharedFrom?: string | undefined
  }[]
}

/** Curves of a task: each point a step, mean loss and gradient norm since the point before, learning rate, steps/s, bytes of memory. */
export interface LiveCurve {
  readonly method: string
  readonly seed: number
  readonly task: number
  readonly points: readonly LivePoint[]
}

export type LivePoint = readonly [
  step: number,
  loss: number,
  gradNorm: number,
  lr: number,
  stepsPerSecond: number,
  memory: number,
]

export interface LiveLine {
  readonly time: string
  readonly kind: 'note' | 'warning' | 'error'
  readonly text: string
}
