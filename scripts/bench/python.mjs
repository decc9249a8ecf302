/** The Python that the engine is compared with: a virtual environment in build/, made where it isn't there. */
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { engineRecord } from '../../dist/engine/load.js'
import { ask, findPip, installHint, runProgram, SetupError, say } from '../tools.mjs'

const folder = join(import.meta.dirname, '..', '..', 'build', 'peers')
const python = join(folder, 'bin', 'python')
const importAll = ['-c', 'import diffusers, numpy, safetensors, torch']

/**
 * Python with diffusers and, where the engine's libtorch is part of a Python package, with that very torch: then both sides
 * run the same library. Otherwise pip gets torch in the same version.
 * @returns {Promise<string>} the interpreter's path
 * @throws {SetupError}
 */
export async function findPython() {
  if (existsSync(python) && ask(python, importAll).ok) return python
  const libtorch = engineRecord()?.libtorch
  const { path: system, tried } = findPip()
  if (!libtorch || !system) throw new SetupError('the peers need Python with pip.', tried, [installHint(['pip'])])
  rmSync(folder, { recursive: true, force: true })
  await run(system, ['-m', 'venv', folder])
  const site = ask(python, ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))']).stdout
  if (existsSync(join(libtorch.path, '__init__.py'))) {
    // pip sees what such a file names, and gets only what that lacks.
    writeFileSync(join(site, 'torch.pth'), `${dirname(libtorch.path)}\n`)
  }
  const packages = [`torch==${libtorch.version}`, 'diffusers', 'numpy', 'safetensors']
  await run(python, ['-m', 'pip', 'install', '--no-input', '--progress-bar', 'off', ...packages])
  await run(python, importAll)
  return python
}

/** @param {string} program @param {string[]} args */
async function run(program, args) {
  say(`${program} ${args.join(' ')}`)
  const lines = /** @type {string[]} */ ([])
  const { ok, reason } = await runProgram(program, args, { onLine: (line) => lines.push(line) })
  if (!ok)
    throw new SetupError(`the peers' Python failed (${reason}).`, lines.slice(-8), [`remove ${folder} to start anew`])
}
