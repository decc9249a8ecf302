import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { ContinualDiffusionError, messageOf } from '../errors.js'
import type { Addon } from './addon.js'

/** What the installation wrote about the libtorch it built the addon against. */
export interface EngineRecord {
  readonly libtorch: {
    readonly path: string
    readonly version: string
    /** `cpu`, or `cu130` and the like. */
    readonly variant: string
    /** Where the installation found it. */
    readonly source: string
  }
}

/** This file's address, also where a bundler made CommonJS of it, which has no `import.meta`. */
const here: string = import.meta.url ?? pathToFileURL(__filename).href

/** This package's folder: the same from lib/engine and from dist/engine. */
const packageFolder = fileURLToPath(new URL('../../', here))

/** The folder that the addon is built in. */
export const buildFolder = `${packageFolder}build/`
const addonName = 'continual_diffusion.node'
export const addonFile = `${buildFolder}Release/${addonName}`

/** Builds the addon again, also where npm is set to run no scripts of packages. */
export const rebuild = 'npm rebuild continual-diffusion --ignore-scripts=false --foreground-scripts'
const mend = `Run \`${rebuild}\` (in a clone of its repository: \`npm run build\`)`
const noMend =
  'Building it again does not help: install the library that the message names, or fix what it says of it (e.g. a file system mounted with `noexec`, a file that is not whole)'

const isMissingTorch = (reason: string) =>
  /\blib(?:c10|torch)\w*\.so: cannot open shared object file: No such file/.test(reason)

/**
 * Whether building the addon again can mend what the dynamic linker said. It can't where another library is at fault, or the
 * system; a libtorch that lacks a library is replaced by a build.
 */
export function rebuildHelps(reason: string): boolean {
  if (/failed to map segment|Permission denied|static TLS|executable stack|cannot allocate memory/i.test(reason))
    return false
  return reason.includes(addonName) || isMissingTorch(reason) || !/\.so\b/.test(reason)
}

/** The installation's record; null where there is none. */
export function engineRecord(): EngineRecord | null {
  let text: string
  try {
    text = readFileSync(`${buildFolder}engine.json`, 'utf8')
  } catch {
    return null
  }
  return JSON.parse(text) as EngineRecord
}

/** Looked for once: a rebuild under a running process must not disturb it. */
let loaded: Addon | undefined

/**
 * The C++ addon, one instance for each environment (the main thread, each worker).
 *
 * @throws ContinualDiffusionError `ERR_ADDON_NOT_BUILT` when the addon is missing or this Node cannot load it,
 * `ERR_LIBTORCH_NOT_FOUND` when the libtorch that it was built against is gone.
 */
export function loadAddon(): Addon {
  if (loaded === undefined) {
    const addon = requireAddon()
    process.once('exit', () => addon.close())
    loaded = addon
  }
  return loaded
}

function requireAddon(): Addon {
  const record = engineRecord()
  const libtorch = record?.libtorch
  const found = libtorch !== undefined && existsSync(libtorch.path)
  const recorded =
    libtorch === undefined
      ? 'no libtorch is recorded'
      : `recorded libtorch: ${libtorch.version} (${libtorch.variant}) at ${libtorch.path}, which ${found ? 'exists' : 'no longer exists'}`
  const facts = `Node ${process.version} on ${process.platform}-${process.arch}; ${recorded}.`

  if (!existsSync(addonFile)) {
    if (!isPackage(packageFolder)) {
      throw new ContinualDiffusionError(
        'ERR_ADDON_NOT_BUILT',
        `The C++ addon is not beside this code, which was bundled into ${fileURLToPath(here)}: keep continual-diffusion out of the bundle, ` +
          "with 'serverExternalPackages' in Next, 'external' in esbuild and rollup, 'externals' in webpack.",
      )
    }
    throw new ContinualDiffusionError(
      'ERR_ADDON_NOT_BUILT',
      `The C++ addon is not built: there is no ${addonFile}. ${facts} ${mend}.`,
    )
  }
  try {
    return createRequire(here)(addonFile) as Addon
  } catch (cause) {
    const reason = messageOf(cause)
    if (/failed to map segment/.test(reason) && isMemoryLimited()) {
      throw new ContinualDiffusionError(
        'ERR_OUT_OF_MEMORY',
        `The C++ addon can't be loaded: ${reason}. This process has a limit on its address space: raise it (ulimit -v).`,
        { cause },
      )
    }
    if (libtorch !== undefined && (!found || isMissingTorch(reason))) {
      throw new ContinualDiffusionError(
        'ERR_LIBTORCH_NOT_FOUND',
        `The libtorch that the C++ addon was built against is ${found ? 'not whole' : 'gone'}: ${reason}. ${facts} Put it back, or build against another one: ${mend}.`,
        { cause },
      )
    }
    throw new ContinualDiffusionError(
      'ERR_ADDON_NOT_BUILT',
      `The C++ addon at ${addonFile} cannot be loaded: ${reason}. ${facts} ${rebuildHelps(reason) ? mend : noMend}.`,
      { cause },
    )
  }
}

function isMemoryLimited(): boolean {
  try {
    return /^Max address space +\d/m.test(readFileSync('/proc/self/limits', 'utf8'))
  } catch {
    return false
  }
}

/** Whether a folder is this package's. A bundle lies in another. */
function isPackage(folder: string): boolean {
  try {
    return JSON.parse(readFileSync(`${folder}package.json`, 'utf8')).name === 'continual-diffusion'
  } catch {
    return false
  }
}
