import type { Command } from 'commander'
import { writeReport } from '../experiment/report.js'

/** Adds the command `report`: makes the pages of runs anew. */
export function registerReport(program: Command): void {
  program
    .command('report')
    .description('make the page of a run anew from its folder, also of one that was stopped')
    .argument('<runs...>', 'run folders')
    .action(async (runs: string[]) => {
      for (const run of runs) console.log(await writeReport(run))
    })
}
