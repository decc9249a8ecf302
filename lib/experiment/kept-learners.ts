import type { MethodRun } from '../report/results.js'
import { savedLearners } from './checkpoint.js'
import type { ExperimentConfig } from './config.js'
import type { RunFolder } from './folder.js'

/** Where a learner is saved after a task, relative to the run folder. */
export function learnerPath(method: string, seed: number, task: number): string {
  return `learners/${method}/seed-${seed}/task-${task}`
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
  if (config.keepLearners === 'all') return
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
