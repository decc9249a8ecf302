import type { LossCurve, Results, TaskResult } from '../../lib/report/results.js'

const classes = ['T-shirt/top', 'Trouser', 'Pullover', 'Dress']

/** Results of two methods over two tasks with made-up numbers, as a run would write them. */
export function madeUpResults(seeds: readonly number[] = [42]): Results {
  const methods = ['finetune', 'generative-distillation']
  return {
    title: 'Fashion & <friends> in two tasks',
    complete: true,
    versions: {
      package: '0.0.1',
      libtorch: '2.13.0',
      cuda: null,
      node: 'v20.20.0',
      platform: 'linux-x64',
      cpu: 'Some CPU',
    },
    classes,
    parameters: 1_234_567,
    device: 'cpu',
    precision: 'fp32',
    classifier: { name: 'small CNN', features: 64, accuracy: 0.875 },
    shareFirstTask: true,
    metrics: {
      frechetDistance: { title: 'Fréchet distance (small CNN, 64 features)', better: 'lower' },
      classFrequencies: { title: 'KLD of class frequencies', better: 'lower' },
    },
    methods: methods.map((label) => ({ label, about: `What ${label} does.` })),
    runs: seeds.flatMap((seed, s) =>
      methods.map((method, m) => ({
        method,
        seed,
        tasks: [madeUpTask(1, seed, method, m, s), madeUpTask(2, seed, method, m, s)],
      })),
    ),
  }
}

function madeUpTask(task: number, seed: number, method: string, m: number, s: number): TaskResult {
  const own = task === 1 ? [0, 1] : [2, 3]
  const first = task === 1
  const counts = { real: 200 * task, generated: 1000 }
  return {
    task,
    name: own.map((c) => classes[c]).join(', '),
    classes: own,
    steps: 100,
    seconds: { learn: 10, evaluate: 2 },
    loss: 0.05,
    teacherCalls: first || m === 0 ? 0 : 3,
    // Finetuning draws nothing of task 1 any more that could be measured.
    alone: Array.from({ length: task }, (_, j) => ({
      task: j + 1,
      real: 200,
      generated: 500,
      values: {
        frechetDistance: {
          real: 200,
          generated: 500,
          value: m === 0 && j + 1 < task ? null : 20 + 10 * (task - j - 1) + s,
        },
      },
    })),
    denoising: [
      { from: 0, to: 500, loss: 0.1, images: 200, draws: 200 },
      { from: 500, to: 1000, loss: 0.01 * (m + 1), images: 200, draws: 200 },
    ],
    solver: first ? [0.9] : [m === 0 ? 0.1 : 0.8, 0.9],
    metrics: {
      frechetDistance: { value: first ? 33 + s : m === 0 ? 146.4 + s : 37.25 + 2 * s, ...counts, note: 'A note.' },
      classFrequencies: {
        value: first ? 0.01 : m === 0 ? 3.456 : 0.0789,
        ...counts,
        detail: {
          real: first ? [0.5, 0.5, 0, 0] : [0.25, 0.25, 0.25, 0.25],
          generated: first ? [0.5, 0.5, 0, 0] : m === 0 ? [0, 0.02, 0.5, 0.48] : [0.2, 0.25, 0.3, 0.25],
        },
      },
    },
    samples: `samples/${method}/seed-${seed}/task-${task}.png`,
    realSamples: `samples/real/seed-${seed}/task-${task}.png`,
    learner: `learners/${method}/seed-${seed}/task-${task}`,
    ...(first && m > 0 ? { sharedFrom: 'finetune' } : {}),
  }
}

export function madeUpCurves(results: Results): LossCurve[] {
  return results.runs.flatMap(({ method, seed, tasks }) =>
    tasks.map(({ task }) => ({
      method,
      seed,
      task,
      points: Array.from({ length: 20 }, (_, i) => [(i + 1) * 5, 0.05 + Math.exp(-i / 4) / task] as const),
    })),
  )
}
