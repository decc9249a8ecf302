import { access, readFile } from 'node:fs/promises'
import path from 'node:path'
import { isRunFolder } from '../checkpoint/missing-file.js'
import { ContinualDiffusionError, invalid } from '../errors.js'
import { type ExperimentInput, resolveExperiment } from '../experiment/config.js'
import { runOf } from '../experiment/evaluate-saved.js'
import { fromFile } from '../experiment/inputs.js'
import { whyNoLearner } from '../experiment/kept-learners.js'
import { presetNames } from '../experiment/presets.js'
import { withModel } from '../experiment/with-model.js'
import { badFile } from '../files/bad-file.js'
import { jsonProblem, withoutComments } from '../files/json-text.js'
import { parseJson } from '../files/read-json.js'
import { unknownName } from '../validation/names.js'
import { ofFile, WrongFile } from './arguments.js'

export function isPreset(experiment: string): experiment is (typeof presetNames)[number] {
  return (presetNames as readonly string[]).includes(experiment)
}

/**
 * An experiment as the command line names it: a preset, or a JSON file.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` where there is none; WrongFile where it isn't JSON
 */
export async function readExperiment(experiment: string): Promise<ExperimentInput> {
  if (isPreset(experiment)) {
    return { preset: experiment }
  }
  let text: string
  try {
    text = await readFile(experiment, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
      throw invalid(
        /[./\\]/.test(experiment)
          ? `${experiment}: there is no such file; expected a JSON file, or a preset: ${presetNames.join(', ')}`
          : `${unknownName('preset', experiment, presetNames)}; or name a JSON file`,
      )
    }
    throw invalid(`${experiment} can't be read: ${(cause as Error).message}`, cause)
  }
  const bare = withoutComments(text.replace(/^\ufeff/, ''))
  // Of a key that stands there twice, JSON.parse would drop the first value in silence.
  const problem = jsonProblem(bare)
  if (problem !== undefined) throw new WrongFile(invalid(`${experiment} is not JSON: ${problem}`))
  return withModel(fromFile(parseJson(bare), experiment) as ExperimentInput, experiment).catch((error: unknown) => {
    throw ofFile(error)
  })
}

/**
 * Checks that there is a folder where a learner is expected.
 *
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` that names the learner which is in its place, where it is one of a run
 */
export async function checkLearner(folder: string): Promise<void> {
  await access(folder).catch(async (cause) => {
    const why = (await whyNoLearner(folder)) ?? 'expected the folder of a saved learner'
    const message = `${folder}: there is no such folder, or it can't be read; ${why}`
    throw new ContinualDiffusionError('ERR_DATA_NOT_FOUND', message, { cause })
  })
}

/** The experiment that a saved learner is judged by: the one named, or that of the run which its folder is in. */
export async function experimentOf(learner: string, named: string | undefined): Promise<ExperimentInput> {
  await checkLearner(learner)
  if (named !== undefined) return resolved(named)
  const file = await runOf(learner)
  if (file === undefined) {
    const config = path.join(learner, 'config.json')
    const isRun = await access(path.join(learner, 'learners'))
      .then(() => access(config))
      .then(
        () => true,
        () => false,
      )
    if (isRun) throw badFile(config, isRunFolder)
    throw invalid(
      `${learner} is not in a run folder; name the data, classifier and metrics by --experiment: a preset ` +
        `(${presetNames.join(', ')}) or a JSON file`,
    )
  }
  return resolved(file)
}

async function resolved(experiment: string): Promise<ExperimentInput> {
  const input = await readExperiment(experiment)
  try {
    resolveExperiment(input, experiment)
    return input
  } catch (error) {
    throw isPreset(experiment) ? error : ofFile(error)
  }
}
