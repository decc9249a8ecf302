import { open, readdir, readFile, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { replaceFile } from '../files/atomic.js'
import { writeFlushed } from '../files/flush.js'
import { fitPictures } from '../images/fit.js'
import { renderPage } from '../report/page.js'
import { pathSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { warn } from '../validation/printable.js'
import { configFile, eventsFile, linkError, reportFile, resultsFile } from './folder.js'
import { type JoinedRuns, joinRuns } from './join.js'
import { isPartFolder } from './part.js'
import { readPart, readRun } from './read-run.js'

/**
 * Writes the report of a run from the run folder's contents to `report.html` in that folder. It also works for a run that was stopped, and for
 * the folder of an experiment that is run in parts, of which it reports those that are there.
 *
 * @returns the page's absolute path
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND`, `ERR_BAD_DATA`, `ERR_WRITE_FAILED`
 *
 * @category Results and reports
 */
export async function writeReport(folder: string): Promise<string> {
  parseOptions(pathSchema, folder, 'writeReport: folder')
  const page = path.join(path.resolve(folder), reportFile)
  const joined = await readRuns([folder])
  await checkWithin([await realPath(folder)], page)
  await writePage(joined, page)
  return page
}

/**
 * Joins runs into one, and writes one report of all of them. A method that several runs have with the same settings and different seeds becomes
 * one method with all these seeds. If the settings differ, or a seed occurs twice, the run folder's name is added to the method's label.
 *
 * @param folders run folders, at least one; the folder of an experiment that is run in parts stands for those that are there
 * @param page path of the report; if it is left out, none is written
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when data, stream or evaluation of the runs differ, so that their numbers can't be
 *   compared; `ERR_DATA_NOT_FOUND`, `ERR_BAD_DATA`, `ERR_WRITE_FAILED`
 *
 * @category Results and reports
 */
export async function compareRuns(folders: readonly string[], page?: string): Promise<JoinedRuns> {
  parseOptions(z.array(pathSchema), folders, 'compareRuns: folders')
  if (page !== undefined) parseOptions(pathSchema, page, 'compareRuns: page')
  const joined = await readRuns(folders)
  if (page !== undefined) await writePage(joined, page)
  return joined
}

async function readRuns(folders: readonly string[]): Promise<JoinedRuns> {
  const runs = (await Promise.all(folders.map(partsOf))).flat()
  const records = await Promise.all(runs.map(readRun))
  const joined = joinRuns(records)
  const classifiers = new Set(records.flatMap(({ results }) => results.inputs?.classifier ?? []))
  if (classifiers.size > 1) {
    warn(
      `${runs.length} runs have ${classifiers.size} classifiers of their metrics, trained on different machines: their distances are computed in ` +
        'features that are not quite the same. Let all machines share one cache (XDG_CACHE_HOME), and run them again',
      'CONTINUAL_DIFFUSION_CLASSIFIERS',
    )
  }
  return joined
}

/** The parts below a folder that have results, in their order; the folder itself where it is no folder of parts. */
async function partsOf(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((): string[] => [])
  if (names.includes(configFile)) return [folder]
  const parts = names.filter(isPartFolder).map((name) => path.join(folder, name))
  const isThere = await Promise.all(parts.map((part) => stat(path.join(part, resultsFile)).then(Boolean, () => false)))
  const found = parts.filter((_, i) => isThere[i])
  return found.length === 0 ? [folder] : found.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
}

async function writePage(joined: JoinedRuns, page: string): Promise<void> {
  const html = await renderRuns(joined)
  await replaceFile(page, (temporary) => writeFlushed(temporary, html))
}

/** Of all pictures of a page, which grow by a third in it: the page is to stay below 10 MB. */
const mostBytes = 5_500_000

/** The page of runs, with the pictures that they name. */
export async function renderRuns({ records, results, curves }: JoinedRuns): Promise<string> {
  const files = new Set(results.runs.flatMap(({ tasks }) => tasks.flatMap((t) => [t.samples, t.realSamples])))
  const grids = new Map<string, Uint8Array>()
  const folders = await Promise.all(records.map(({ folder }) => realPath(folder)))
  for (const file of files) {
    await checkWithin(folders, file)
    // Without a picture the numbers are still worth a page.
    if ((await realPath(file)) !== undefined) grids.set(file, await readPart(file, readFile(file)))
  }
  const sources = await Promise.all(
    records.map(async ({ folder, config, results }) => {
      return {
        name: path.basename(folder),
        folder: path.relative('', folder) || '.',
        begun: await begunOf(folder),
        config,
        results,
      }
    }),
  )
  const { pictures, isLossy } = await fitPictures(grids, mostBytes)
  return renderPage({ results, sources, curves, grids: pictures, areLossy: isLossy })
}

/** When a run began, by the first of its events; of an older run, by when its configuration was written, which a copy forgets. */
async function begunOf(folder: string): Promise<Date | undefined> {
  try {
    const handle = await open(path.join(folder, eventsFile))
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(2 ** 16), 0, 2 ** 16, 0).finally(() => handle.close())
    const [first] = buffer.toString('utf8', 0, bytesRead).split('\n', 1)
    const time = Date.parse((JSON.parse(first!) as { time: string }).time)
    if (Number.isFinite(time)) return new Date(time)
  } catch {
    // There is none, or none that was written whole.
  }
  return (await stat(path.join(folder, configFile)).catch(() => undefined))?.mtime
}

/**
 * Checks that no link on the way to a file of one of these folders leads out of them.
 *
 * @param folders their real paths
 * @throws ContinualDiffusionError `ERR_BAD_DATA`
 */
async function checkWithin(folders: readonly (string | undefined)[], file: string): Promise<void> {
  const real = await realPath(file)
  if (real === undefined) return // What isn't there leads nowhere.
  if (!folders.some((folder) => real.startsWith(`${folder}${path.sep}`))) throw linkError(file)
}

/** Where links lead; undefined where there is nothing. */
async function realPath(file: string): Promise<string | undefined> {
  return realpath(file).catch(() => undefined)
}
