import { entryKey, type LiveEntry, type LiveFound } from '../entries.js'
import { drawCharts, resizeCharts } from './charts.js'
import { byId, make, setText } from './dom.js'
import { type Entry, showFound, showLog, showProgress, showSamples, showStatus, states } from './sections.js'

/** What the page knows, as the server's store has it: the newest entry of each topic, method, seed and task. */
const entries = new Map<string, LiveEntry>()
let changed = new Set<LiveEntry['topic']>()
let isPaused = false
let isDue = false

function only<T extends LiveEntry['topic']>(topic: T): Entry<T> | undefined {
  return entries.get(topic) as Entry<T> | undefined
}

function all<T extends LiveEntry['topic']>(topic: T): Entry<T>[] {
  return [...entries.values()].filter((entry): entry is Entry<T> => entry.topic === topic)
}

function take(entry: LiveEntry): void {
  entries.set(entryKey(entry), entry)
  changed.add(entry.topic)
  schedule()
}

/** Draws at most twice a second, and not where nobody sees it. */
function schedule(): void {
  if (isDue || isPaused || document.hidden) return
  isDue = true
  setTimeout(() => {
    isDue = false
    if (!isPaused && !document.hidden) render()
  }, 500)
}

const seedChoice = byId<HTMLSelectElement>('seed')
let isSeedChosen = false

function render(): void {
  const topics = changed
  changed = new Set()
  const run = only('run')
  const status = only('status')
  if (run === undefined) return
  if (topics.has('run')) {
    document.title = run.title
    setText(byId('title'), run.title)
    setText(byId('about'), [run.about, run.folder].filter((text) => text !== '').join('. '))
    const before = seedChoice.value
    seedChoice.replaceChildren(...run.seeds.map((seed) => make('option', { value: String(seed) }, String(seed))))
    if (before !== '') seedChoice.value = before
  }
  const now = status?.state === 'complete' ? undefined : status?.progress
  // The page goes with the run from seed to seed, until somebody chooses one.
  if (!isSeedChosen && now?.part && seedChoice.value !== String(now.part.seed)) {
    seedChoice.value = String(now.part.seed)
    topics.add('curve').add('found')
  }
  const seed = Number(seedChoice.value)
  const found: LiveFound[] = all('found').filter((one) => one.seed === seed)
  if (status && topics.has('status')) showStatus(status)
  const known = [now?.part?.tasks ?? 0, ...all('found').map(({ tasks }) => tasks.length)]
  showProgress(run.methods, found, Math.max(...known), now?.part?.seed === seed ? now : undefined)
  if (topics.has('found') || topics.has('run')) showFound(run.methods, run.metrics, found)
  if (topics.has('curve') || topics.has('run')) {
    drawCharts(
      run.methods,
      all('curve').filter((curve) => curve.seed === seed),
    )
  }
  const samples = only('samples')
  if (samples && topics.has('samples')) showSamples(samples)
  const log = only('log')
  if (log && topics.has('log')) showLog(log)
}

function renderAll(): void {
  for (const { topic } of entries.values()) changed.add(topic)
  render()
}

seedChoice.addEventListener('change', () => {
  isSeedChosen = true
  renderAll()
})
const pause = byId('pause')
pause.addEventListener('click', () => {
  isPaused = !isPaused
  pause.setAttribute('aria-pressed', String(isPaused))
  if (!isPaused) render()
})
document.addEventListener('visibilitychange', schedule)
window.addEventListener('resize', resizeCharts)
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', renderAll)

// The browser connects again by itself, and says which entry it had last: what came since is sent then.
const source = new EventSource('events')
source.addEventListener('entry', ({ data }: MessageEvent<string>) => take(JSON.parse(data) as LiveEntry))
source.addEventListener('end', () => {
  source.close()
  // What has come is shown first.
  setTimeout(() => {
    const state = only('status')?.state ?? 'waiting'
    setText(byId('state'), `${states[state]} This page is no longer updated.`)
  }, 1000)
})
source.addEventListener('error', () => {
  const isGone = source.readyState === EventSource.CLOSED
  setText(
    byId('state'),
    isGone
      ? 'This page is no longer served: the command that served it has ended.'
      : 'The connection is lost. Trying again …',
  )
})
source.addEventListener('open', () => {
  changed.add('status')
  schedule()
})
