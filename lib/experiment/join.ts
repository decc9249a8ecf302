import path from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { invalid } from '../errors.js'
import type { LossCurve, Results } from '../report/results.js'
import { shown, shownPath } from '../validation/options.js'
import type { RunRecord } from './read-run.js'

/**
 * Several runs that were joined into one.
 *
 * @category Results and reports
 */
export interface JoinedRuns {
  readonly records: readonly RunRecord[]
  /** Results of all runs. Paths in it are absolute. Title, device, versions and the like are those of the first run. */
  readonly results: Results
  readonly curves: readonly LossCurve[]
}

/**
 * Puts finished runs side by side. A method that several runs have with the same settings and other seeds is one method with
 * all these seeds; one that they have with other settings, or with the same seed twice, is told apart by its run folder's name.
 *
 * @param records at least one
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when their numbers can't be compared, because data, stream or evaluation
 *   differ
 */
export function joinRuns(records: readonly RunRecord[]): JoinedRuns {
  const first = records[0]
  if (first === undefined) throw invalid('compare: there are no runs; name at least one run folder')
  for (const record of records) checkComparable(first, record)
  const names = namesOf(records)
  const labels = records.map((record, i) => {
    const clash = (label: string) => records.some((other) => other !== record && !isSameMethod(record, other, label))
    return new Map(
      record.results.methods.map(({ label }) => [label, clash(label) ? `${label} (${names[i]})` : label] as const),
    )
  })
  const label = (i: number, method: string) => labels[i]?.get(method) ?? method
  const hasAllParts = ({ part }: RunRecord['config']) =>
    part === undefined || records.filter(({ config }) => config.part?.of === part.of).length >= part.of
  const methods = new Map(
    records.flatMap(({ results }, i) =>
      results.methods.map((method) => [label(i, method.label), { ...method, label: label(i, method.label) }] as const),
    ),
  )
  const results: Results = {
    ...first.results,
    complete: records.every(({ results }) => results.complete) && records.every(({ config }) => hasAllParts(config)),
    methods: [...methods.values()],
    runs: records.flatMap(({ folder, results }, i) =>
      results.runs.map((run) => ({
        ...run,
        method: label(i, run.method),
        tasks: run.tasks.map((task) => ({
          ...task,
          samples: path.join(folder, task.samples),
          realSamples: path.join(folder, task.realSamples),
          learner: task.learner && path.join(folder, task.learner),
        })),
      })),
    ),
  }
  const curves = records.flatMap(({ curves }, i) => curves.map((c) => ({ ...c, method: label(i, c.method) })))
  return { records, results, curves }
}

/** What of an evaluation decides its numbers: neither how sure they are, nor where a file lies that is known by its SHA-256. */
function measured({ evaluation }: Pick<RunRecord['config'], 'evaluation'>): unknown {
  const { bootstrap: _, inception: __, ...rest } = evaluation ?? {}
  return rest
}

/** Data as the configuration has it, without where it lies: what is there says its SHA-256. */
function withoutFolders({ data }: Pick<RunRecord['config'], 'data'>): unknown {
  return data.map(({ folder: _, ...rest }) => rest)
}

/** Numbers are computed from the same images in the same way. */
function checkComparable(first: RunRecord, other: RunRecord): void {
  const haveDigests = first.results.inputs?.data !== undefined && other.results.inputs?.data !== undefined
  const settings = ({ config, results }: RunRecord) => ({
    data: haveDigests ? withoutFolders(config) : config.data,
    ...(haveDigests && { 'SHA-256 of the data': results.inputs!.data, classes: results.classes }),
    stream: config.stream,
    evaluation: measured(config),
    classifier: config.classifier,
    metrics: results.metrics,
  })
  const difference = firstDifference(settings(first), settings(other))
  if (difference === undefined) return
  const { at, a, b } = difference
  throw invalid(
    `compare: ${shownPath(at)} of ${other.folder} is ${shown(b)}; expected ${shown(a)}, as in ${first.folder}: only runs ` +
      'with the same data, stream and evaluation can be compared',
  )
}

interface Difference {
  readonly at: readonly PropertyKey[]
  readonly a: unknown
  readonly b: unknown
}

/** Where two values differ, as far inside as both have something to look into, and what each has there. */
function firstDifference(a: unknown, b: unknown, at: readonly PropertyKey[] = []): Difference | undefined {
  if (isDeepStrictEqual(a, b)) return undefined
  if (!isObject(a) || !isObject(b)) return { at, a, b }
  const key = Object.keys({ ...a, ...b }).find((key) => !isDeepStrictEqual(a[key], b[key]))
  // A list and an object, both empty.
  if (key === undefined) return { at, a, b }
  return firstDifference(a[key], b[key], [...at, Array.isArray(a) ? Number(key) : key])
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

/** Whether two runs' methods of a label are one method with different seeds; true where one of them doesn't have it. */
function isSameMethod(a: RunRecord, b: RunRecord, label: string): boolean {
  const entry = ({ config }: RunRecord) => config.methods.find((method) => method.label === label)
  const [mine, others] = [entry(a), entry(b)]
  if (mine === undefined || others === undefined) return true
  const settings = ({ config }: RunRecord) => {
    // How they were evaluated was found to be the same.
    const { stream, from, unet, schedule, sampler, ema, train, samples, classifier, solver } = config
    return { stream, from, unet, schedule, sampler, ema, train, samples, classifier, solver }
  }
  const computed = ({ results: { device, precision } }: RunRecord) => [device.replace(/:.*/, ''), precision]
  return (
    isDeepStrictEqual(mine, others) &&
    isDeepStrictEqual([settings(a), computed(a)], [settings(b), computed(b)]) &&
    !haveSameSeed(a, b, label)
  )
}

/** Of parts of one experiment, only the seeds that a part runs the method with are its own. */
function haveSameSeed(a: RunRecord, b: RunRecord, label: string): boolean {
  const seeds = ({ config, results }: RunRecord) =>
    config.part === undefined
      ? config.seeds
      : results.runs.filter(({ method }) => method === label).map(({ seed }) => seed)
  return seeds(a).some((seed) => seeds(b).includes(seed))
}

/** What the runs' folders are called, with their parents' names where that alone tells them apart. */
function namesOf(records: readonly RunRecord[]): string[] {
  for (let parts = 1; parts < 10; parts++) {
    const names = records.map(({ folder }) => folder.split(path.sep).slice(-parts).join('/'))
    if (new Set(names).size === names.length) return names
  }
  throw invalid('compare: a run folder is named twice; name each once')
}
