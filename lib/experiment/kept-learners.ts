import path from 'node:path'
import type { MethodRun } from '../report/results.js'
import { savedLearners } from './checkpoint.js'
import type { ExperimentConfig } from './config.js'
import type { RunFolder } from './folder.js'
import { readRun } from './read-run.js'

/** Where a learner is saved after a task, relative to the run folder. */
export function learnerPath(method: string, seed: number, task: number): string {
  return `learners/${method}/seed-${seed}/task-${task}`
}

/**
 * Why a run has no learner in a folder, and where its like is.
 *
 * @param learner a folder that isn't there, named like a run's
 * @returns undefined where nothing is known of it
 */
export async function whyNoLearner(learner: string): Promise<string | undefined> {
  const [method, seed, name] = path.resolve(learner).split(path.sep).slice(-3)
  const run = path.resolve(learner, '../../../..')
  const record = await readRun(run).catch(() => undefined)
  const found = record?.results.runs.find((one) => one.method === method && `seed-${one.seed}` === seed)
  const task = found?.tasks.find((one) => `task-${one.task}` === name)
  if (record === undefined || task === undefined) return undefined
  if (task.learner === undefined) return `the run did not keep it: its keepLearners is '${record.config.keepLearners}'`
  if (task.sharedFrom === undefined) return undefined
  return `${method} shares the learner of task ${task.task} with ${task.sharedFrom}: name ${path.join(run, task.learner)}`
}

/** Whether the learner of a task stays in the run folder. */
export function isKept({ keepLearners }: Pick<ExperimentConfig, 'keepLearners'>, task: number, tasks: number): boolean {
  return keepLearners === 'all' || (keepLearners === 'last' && task === tasks)
}

/**
 * Removes the learners that are not to be kept, except those from which the run may still go on: those of checkpoints and, while methods of
 * their seed are left, of first tasks.
 *
 * @param run what was found so far; `isComplete`: nothing more is to come
 */
export async function removeLearners(
  folder: RunFolder,
  { config, runs, tasks }: { config: ExperimentConfig; runs: readonly MethodRun[]; tasks: number },
  isComplete: boolean,
): Promise<void> {
  if (config.keepLearners === 'all' || !folder.isWriter) return
  const needed = isComplete ? [] : await savedLearners(folder)
  const current = isComplete ? undefined : runs.at(-1)?.seed
  for (const { method, seed, tasks: learned } of runs) {
    for (const { task } of learned) {
      const saved = learnerPath(method, seed, task)
      const isNeeded = needed.includes(saved) || (task === 1 && seed === current)
      if (!isNeeded && !isKept(config, task, tasks)) await folder.remove(saved)
    }
  }
}
