#!/usr/bin/env node
import { inspect } from 'node:util'
import { Command, CommanderError } from 'commander'
import { ContinualDiffusionError, lackOf } from '../errors.js'
import { packageVersion } from '../experiment/versions.js'
import { WrongFile } from './arguments.js'
import { registerCompare } from './compare.js'
import { registerData } from './data.js'
import { registerEvaluate } from './evaluate.js'
import { registerInit } from './init.js'
import { Interrupted, interruptSignal, Silent, untilInterrupted } from './interrupt.js'
import { print, say, sayWarnings, watchOutput } from './output.js'
import { registerReport } from './report.js'
import { registerRun } from './run.js'
import { registerSample } from './sample.js'
import { registerWatch } from './watch.js'

// Exit statuses: 0 done, 1 failed, 2 wrong usage, 128 + n ended by signal n.

const verbose = process.argv.includes('--verbose') || Boolean(process.env.DEBUG)
const signal = interruptSignal()
const output = watchOutput()
sayWarnings()

const program = new Command('continual-diffusion')
  .description('Train one diffusion model on a sequence of tasks without forgetting.')
  .version(packageVersion())
  .option('--verbose', 'show where errors came from')
  .exitOverride()
  .showHelpAfterError('(run with --help to see commands and options)')
registerRun(program, signal)
registerInit(program)
registerCompare(program, signal)
registerReport(program, signal)
registerWatch(program, signal)
registerSample(program, signal)
registerEvaluate(program, signal)
registerData(program, signal)
program
  .command('doctor')
  .description('check this machine: compiler, libtorch, addon, devices, data')
  .option('--json', 'print it as JSON')
  .action(async ({ json }: { json?: boolean }) => {
    const { runDoctor } = await import('./doctor.js')
    const ok = await untilInterrupted(
      signal,
      runDoctor((text) => print(text.trimEnd()), json),
    )
    if (!ok) process.exitCode = 1
  })

try {
  await program.parseAsync()
} catch (error) {
  // Warnings come a little later than they are given, and stand before the error that followed them.
  await new Promise((resolve) => setImmediate(resolve))
  process.exitCode = report(error)
}
const lost = await output.lost()
if (lost !== undefined) {
  const message = `a part of what was to be shown could not be written: ${lost}`
  say(message)
  print(message) // where it can be read, if anywhere
  // A run has its results in its folder; of other commands what they print is the result.
  if (output.isResultLost && process.argv[2] !== 'run') process.exitCode ||= 1
}
// What knows no signal may go on, and would keep the process.
if (signal.aborted) process.exit()

/** Says what went wrong; returns the exit status. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  if (error instanceof Silent) return error.status
  if (error instanceof Interrupted) {
    say(error.message)
    return error.status
  }
  const known = error instanceof WrongFile ? error.cause : error
  const told = known instanceof ContinualDiffusionError ? known : (lackOf(known) ?? unloaded(known))
  if (verbose || !told) say(inspect(known))
  else say(`${told.code}: ${told.message}`)
  if (process.argv.some((argument) => argument.includes('\ufffd'))) {
    say(
      'An argument holds bytes that are not UTF-8, which Node does not pass on: go into the folder of that name, or rename it',
    )
  }
  return known === error && told?.code === 'ERR_INVALID_ARGUMENT' ? 2 : 1
}

/** Modules are loaded when they are used, and Node calls one missing whose file it can't open. */
function unloaded(error: unknown): { code: string; message: string } | undefined {
  const { code, message } = (error ?? {}) as NodeJS.ErrnoException
  if (code !== 'ERR_MODULE_NOT_FOUND') return undefined
  return {
    code,
    message: `${message}; install the package again, or, if that file is there, allow more open files (ulimit -n)`,
  }
}
