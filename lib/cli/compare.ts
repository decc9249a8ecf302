import path from 'node:path'
import type { Command } from 'commander'
import { compareRuns } from '../experiment/report.js'
import { type Layout, tablesAtEnd, tablesByTask } from '../report/table.js'

interface Options {
  out?: string
  byTask?: boolean
  markdown?: boolean
}

/** Adds the command `compare`: several runs in one table and on one page. */
export function registerCompare(program: Command): void {
  program
    .command('compare')
    .description('compare finished runs: the methods and seeds of all of them in one table and on one page')
    .argument('<runs...>', 'run folders, with the same data, stream and evaluation')
    .option('-o, --out <file>', 'write the page that compares them to this HTML file')
    .option('--by-task', 'print the metrics after every task, not only after the last')
    .option('--markdown', 'print the table in Markdown')
    .action(async (runs: string[], { out, byTask, markdown }: Options) => {
      const { results } = await compareRuns(runs, out)
      const layout: Layout = markdown ? 'markdown' : 'text'
      console.log(byTask ? tablesByTask(results, layout) : tablesAtEnd(results, layout))
      if (out !== undefined) console.error(path.resolve(out))
    })
}
