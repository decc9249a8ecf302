import type { LiveEntry, LiveFound, LiveProgress, LiveStatus } from '../entries.js'
import type { Method } from './charts.js'
import { byId, digits, duration, fillTable, imageOf, make, mebibytes, setText } from './dom.js'

export type Entry<T extends LiveEntry['topic']> = Extract<LiveEntry, { topic: T }>

const doings = {
  classifier: 'training the classifier for the metrics',
  pool: 'generating the replay pool',
  solver: 'teaching the solver',
  learn: 'learning',
  evaluate: 'evaluating',
}

export const states: Readonly<Record<LiveStatus['state'], string>> = {
  waiting: 'Waiting for the run to begin',
  running: 'Running',
  silent: 'No sign of life: the run was probably killed. It can be resumed.',
  stopped: 'Stopped. It can be resumed.',
  failed: 'Failed',
  complete: 'Complete',
}

export function showStatus({ state, message, progress }: LiveStatus): void {
  setText(byId('state'), `${states[state]}${state === 'failed' && message ? `: ${message}` : ''}`)
  const isOver = state === 'complete'
  const part = progress?.part
  const ofRun = isOver ? 1 : part ? (part.part - 1 + progress.fraction) / part.parts : 0
  byId<HTMLProgressElement>('run-progress').value = ofRun
  byId<HTMLProgressElement>('task-progress').value = isOver ? 1 : (progress?.fraction ?? 0)
  setText(byId('doing'), progress && !isOver ? doingOf(progress) : '')
  if (progress?.doing === 'learn') showNow(progress)
}

function doingOf({ doing, fraction, part }: LiveProgress): string {
  const percent = `${Math.floor(100 * fraction)} %`
  if (part === undefined) return `${doings[doing]}: ${percent}`
  return `Part ${part.part} of ${part.parts}: task ${part.task} of ${part.tasks} by ${part.method}, seed ${part.seed}: ${doings[doing]}, ${percent}`
}

function showNow({ step, steps, loss, gradNorm, lr, stepsPerSecond, memory, ...left }: LiveProgress): void {
  const facts: [string, string][] = [
    ['Step', `${step} of ${steps}`],
    ['Loss', digits(loss)],
    ['Norm of the gradient', digits(gradNorm)],
    ['Learning rate', digits(lr)],
    ['Steps a second', digits(stepsPerSecond)],
    ['Memory (peak)', memory ? `${mebibytes(memory.used)} MiB (${mebibytes(memory.peak)})` : '–'],
    ['Task: time left', duration(left.taskSecondsLeft)],
    ['Run: time left', left.runSecondsLeft === undefined ? 'known after a task' : duration(left.runSecondsLeft)],
  ]
  byId('now').replaceChildren(
    ...facts.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, value))),
  )
}

function named({ label, series }: Method): Node {
  return make('span', {}, make('i', { className: `chip series-${(series % 8) + 1}` }), label)
}

/** Which tasks each method has learned with a seed. */
export function showProgress(
  methods: readonly Method[],
  found: readonly LiveFound[],
  tasks: number,
  now: LiveProgress | undefined,
): void {
  const numbers = Array.from({ length: tasks }, (_, i) => i + 1)
  fillTable(byId<HTMLTableElement>('progress-table'), {
    head: ['Method', ...numbers.map((n) => `Task ${n}`)],
    rows: methods.map((method) => {
      const own = found.find((one) => one.method === method.label)
      const cells = numbers.map((n) => {
        const task = own?.tasks.find((one) => one.task === n)
        if (task) return task.sharedFrom ? 'shared' : `done, ${duration(task.seconds)}`
        if (now?.part?.method !== method.label || now.part.task !== n) return '–'
        return make('span', { className: 'current' }, `${Math.floor(100 * now.fraction)} %`)
      })
      return [named(method), ...cells]
    }),
  })
}

/** The metrics after each task, and the grids. */
export function showFound(
  methods: readonly Method[],
  metrics: Readonly<Record<string, string>>,
  found: readonly LiveFound[],
): void {
  const tasks = Math.max(0, ...found.map((one) => one.tasks.length))
  byId('no-metrics').hidden = tasks > 0
  const numbers = Array.from({ length: tasks }, (_, i) => i + 1)
  const rows = methods.flatMap((method) => {
    const own = found.find((one) => one.method === method.label)
    return own && own.tasks.length > 0 ? [{ method, own }] : []
  })
  byId('metric-tables').replaceChildren(
    ...Object.entries(metrics)
      .filter(([name]) => rows.some(({ own }) => own.tasks.some((task) => name in task.metrics)))
      .map(([name, title]) => {
        const table = make('table')
        fillTable(table, {
          caption: title,
          head: ['Method', ...numbers.map((n) => `Task ${n}`)],
          rows: rows.map(({ method, own }) => [
            named(method),
            ...numbers.map((n) => digits(own.tasks.find(({ task }) => task === n)?.metrics[name])),
          ]),
        })
        const scroll = make('div', { className: 'scroll', tabIndex: 0, role: 'region', ariaLabel: title }, table)
        return scroll
      }),
  )
  showGrids(rows, numbers)
}

function showGrids(rows: readonly { method: Method; own: LiveFound }[], numbers: readonly number[]): void {
  const cells = rows.flatMap(({ method, own }) => [
    make('p', {}, named(method)),
    ...numbers.map((n) => {
      const task = own.tasks.find((one) => one.task === n)
      if (task === undefined) return make('p', {}, '–')
      const alt = `${own.method} after task ${n}, seed ${own.seed}`
      return make('img', { src: imageOf(task.samples, String(task.seconds)), alt, loading: 'lazy' })
    }),
  ])
  const first = rows[0]?.own
  const real = numbers.map((n) => {
    const task = first?.tasks.find((one) => one.task === n)
    if (task === undefined) return make('p', {}, '–')
    return make('img', {
      src: imageOf(task.realSamples, ''),
      alt: `Real images of task ${n}: ${task.name}`,
      loading: 'lazy',
    })
  })
  const heads = numbers.map((n) =>
    make('p', {}, `Task ${n}: ${first?.tasks.find((one) => one.task === n)?.name ?? ''}`),
  )
  const grid = make('div', { className: 'grid' }, make('p'), ...heads, make('p', {}, 'Real images'), ...real, ...cells)
  grid.style.gridTemplateColumns = `130px repeat(${numbers.length}, 150px)`
  byId('grids').replaceChildren(...(numbers.length > 0 ? [grid] : []))
}

/** The newest grid of the task in progress, or that of the step which was chosen. */
export function showSamples({ method, seed, task, grids }: Entry<'samples'>): void {
  const section = byId('samples')
  section.hidden = grids.length === 0
  if (section.hidden) return
  const slider = byId<HTMLInputElement>('step')
  const of = `${method} ${seed} ${task}`
  const wasNewest = slider.dataset.of !== of || slider.value === slider.max
  slider.dataset.of = of
  slider.max = String(grids.length - 1)
  if (wasNewest) slider.value = slider.max
  setText(byId('samples-of'), `${method}, seed ${seed}, while it learns task ${task}: the same noise at every step.`)
  byId('step-choice').hidden = grids.length < 2
  const show = () => {
    const { step, file } = grids[Number(slider.value)] ?? grids.at(-1)!
    setText(byId('step-text'), String(step))
    slider.setAttribute('aria-valuetext', `step ${step}`)
    const image = byId<HTMLImageElement>('sample')
    const src = imageOf(file, of)
    if (image.getAttribute('src') !== src) image.src = src
    image.alt = `What ${method} draws after step ${step} of task ${task}, seed ${seed}`
  }
  slider.oninput = show
  show()
}

export function showLog({ lines }: Entry<'log'>): void {
  byId('no-log').hidden = lines.some(({ kind }) => kind !== 'note')
  const list = byId('lines')
  const last = list.dataset.last ?? ''
  // Only what is new is added, and read aloud.
  const at = lines.findLastIndex(({ time, text }) => `${time} ${text}` === last)
  if (at < 0) list.replaceChildren()
  for (const { time, kind, text } of lines.slice(at + 1)) {
    const clock = make('time', { dateTime: time }, new Date(time).toLocaleString())
    const word = kind === 'note' ? '' : `${kind}: `
    list.append(make('li', { className: kind }, clock, `${word}${text}`))
    list.dataset.last = `${time} ${text}`
  }
  while (list.childElementCount > 200) list.firstElementChild?.remove()
}
