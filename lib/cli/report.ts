import type { Command } from 'commander'
import { untilInterrupted } from './interrupt.js'
import { print } from './output.js'

/** Adds the command `report`: makes the pages of runs anew. */
export function registerReport(program: Command, signal: AbortSignal): void {
  program
    .command('report')
    .description("make a run's page again from its folder; the run may be incomplete")
    .argument('<runs...>', 'run folders')
    .action(async (runs: string[]) => {
      const { writeReport } = await import('../experiment/report.js')
      for (const run of runs) print(await untilInterrupted(signal, writeReport(run)))
    })
}
