import type { Command } from 'commander'
import { writeReport } from '../experiment/report.js'

/** Adds the command `report`: makes the pages of runs anew. */
export function registerReport(program: Command): void {
  program
    .command('report')
    .description("make a run's page again from its folder; the run may be incomplete")
    .argument('<runs...>', 'run folders')
    .action(async (runs: string[]) => {
      for (const run of runs) console.log(await writeReport(run))
    })
}
