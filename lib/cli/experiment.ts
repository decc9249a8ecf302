import { access, readFile } from 'node:fs/promises'
import { ContinualDiffusionError, invalid } from '../errors.js'
import { type ExperimentInput, resolveExperiment } from '../experiment/config.js'
import { runOf } from '../experiment/evaluate-saved.js'
import { fromFile } from '../experiment/inputs.js'
import { presetNames } from '../experiment/presets.js'
import { parseJson } from '../files/read-json.js'
import { unknownName } from '../validation/names.js'

/**
 * An experiment as the command line names it: a preset, or a JSON file.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export async function readExperiment(experiment: string): Promise<ExperimentInput> {
  if ((presetNames as readonly string[]).includes(experiment)) {
    return { preset: experiment as (typeof presetNames)[number] }
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
  try {
    return fromFile(parseJson(withoutComments(text)), experiment) as ExperimentInput
  } catch (cause) {
    throw invalid(`${experiment} is not JSON: ${(cause as Error).message}`, cause)
  }
}

/** JSON whose comments, of either kind of JavaScript's, are blank, so that messages name the places of the file. */
function withoutComments(text: string): string {
  return text.replace(/"(?:[^"\\\n]|\\.)*"|\/\/.*|\/\*[\s\S]*?\*\//g, (part) =>
    part.startsWith('"') ? part : part.replace(/[^\n]/g, ' '),
  )
}

/** The experiment that a saved learner is judged by: the one named, or that of the run which its folder is in. */
export async function experimentOf(learner: string, named: string | undefined): Promise<ExperimentInput> {
  await access(learner).catch((cause) => {
    throw new ContinualDiffusionError(
      'ERR_DATA_NOT_FOUND',
      `${learner}: there is no such folder, or it can't be read; expected the folder of a saved learner`,
      { cause },
    )
  })
  const file = named ?? (await runOf(learner))
  if (file === undefined) {
    throw invalid(
      `${learner} is not in a run folder; name the data, classifier and metrics by --experiment: a preset ` +
        `(${presetNames.join(', ')}) or a JSON file`,
    )
  }
  const input = await readExperiment(file)
  resolveExperiment(input, file)
  return input
}
