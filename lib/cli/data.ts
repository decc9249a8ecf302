import type { Command } from 'commander'
import { type KnownSource, knownSource, knownSources, locate, type Place } from '../data/known.js'
import type { GetOptions } from '../data/load-known.js'
import { ContinualDiffusionError, invalid, lackOf } from '../errors.js'
import { unknownName } from '../validation/names.js'
import { asRun } from './as-run.js'
import { print } from './output.js'
import { progressBar } from './progress.js'

/** The network of the FID, as the command line names it. */
const inception = 'inception-v3'
const gettable = [...Object.keys(knownSources), inception]

/**
 * Adds the commands `data`, which lists the known data sets and where they were found, and `data get <name>`, which
 * downloads one.
 *
 * @param signal ends a download
 */
export function registerData(program: Command, signal?: AbortSignal): void {
  const data = program
    .command('data')
    .description('list the known data sets and where they are')
    .option('--folder <folder>', 'look for them in this folder too')
    .action(async ({ folder }: { folder?: string }) => {
      for (const source of Object.values(knownSources)) print(await describeSource(source, folder))
    })
  data
    .command('get')
    .description('download a data set, or the network of the FID, into the cache: what is missing or damaged of it')
    .argument('<name>', gettable.join(' or '))
    .option(
      '--url <address>',
      `address of a folder with the files, or of the file of ${inception}, instead of the known ones`,
    )
    .action(async (name: string, { url }: { url?: string }) => {
      const bar = await progressBar()
      const onProgress = (file: string, done: number, total: number) =>
        bar.update(file, { done, total }, `downloading ${file}`)
      try {
        const said = await get(name, { url, signal, onProgress })
        bar.end()
        print(said)
      } finally {
        bar.end()
      }
    })
}

/** Downloads what is named. Returns a sentence that says where it is. */
async function get(name: string, options: GetOptions): Promise<string> {
  if (!gettable.includes(name)) throw invalid(unknownName('data set', name, gettable))
  if (name === inception) {
    const [{ getInception, networksFolder }, { inceptionFile }] = await Promise.all([
      import('../evaluation/inception.js'),
      import('../evaluation/inception-file.js'),
    ])
    const file = await getInception(networksFolder(), options)
    return `The standard Inception-v3 is ${file} (licence: ${inceptionFile.licence})`
  }
  const source = knownSource(name)
  const { getKnown } = await import('../data/load-known.js')
  return `${source.title} is in ${await getKnown(source.name, options)}`
}

/** A data set's title, size and source, and a line for each place it may be in. */
export async function describeSource(source: KnownSource, folder?: string): Promise<string> {
  const { name, title, counts, classes, licence, homepage } = source
  const places = await locate(name, { folder })
  const lines = await Promise.all(places.map(describePlace))
  const whole = places.some(({ found, kind }) => found && kind !== 'subset')
  return [
    `${title} (${name}): ${counts.train} + ${counts.test} images, ${classes.length} classes, ${licence}, ${homepage}`,
    ...lines.map((line) => `  ${line}`),
    ...(whole ? [] : [`  to download it: ${asRun('data', 'get', name)}`]),
    '',
  ].join('\n')
}

async function describePlace({ kind, path, files, missing }: Place): Promise<string> {
  const title = { folder: 'folder', system: 'system', cache: 'cache', subset: 'part in this package' }[kind]
  if (files === undefined) {
    return `${title}: not in ${path}${missing.length < 4 ? ` (missing: ${missing.join(', ')})` : ''}`
  }
  const { readIdxShape } = await import('../data/idx.js')
  try {
    const [train] = await readIdxShape(files.train.images)
    const [test] = await readIdxShape(files.test.images)
    return `${title}: ${train} + ${test} images in ${path}`
  } catch (error) {
    if (!(error instanceof ContinualDiffusionError) || lackOf(error)) throw error
    return `${title}: damaged: ${error.message}`
  }
}
