import path from 'node:path'
import type { Command } from 'commander'
import { invalid } from '../errors.js'
import type { Layout } from '../report/table.js'
import { asTyped } from './arguments.js'
import { untilInterrupted } from './interrupt.js'
import { lineWidth, print, say } from './output.js'

interface Options {
  out?: string
  byTask?: boolean
  markdown?: boolean
  test?: boolean
  baseline?: string
}

/** Adds the command `compare`: several runs in one table and on one page. */
export function registerCompare(program: Command, signal: AbortSignal): void {
  program
    .command('compare')
    .description('compare finished runs: the methods and seeds of all of them in one table and on one page')
    .argument('<runs...>', 'run folders, with the same data, stream and evaluation')
    .option('-o, --out <file>', 'write the page that compares them to this HTML file')
    .option('--by-task', 'print the metrics after every task, not only after the last')
    .option('--markdown', 'print the table in Markdown')
    .option(
      '--test',
      'print whether the methods differ from the first over the same seeds: paired tests, corrected by Holm',
    )
    .option('--baseline <method>', 'with --test: compare with this method')
    .action(async (runs: string[], { out, byTask, markdown, test, baseline }: Options) => {
      if (baseline !== undefined && !test) throw invalid('--baseline is for --test: give both')
      const [{ compareRuns }, { tablesAtEnd, tablesByTask }, { testTable }] = await Promise.all([
        import('../experiment/report.js'),
        import('../report/table.js'),
        import('../report/test-table.js'),
      ])
      const { results } = await untilInterrupted(signal, compareRuns(runs, out))
      const layout: Layout = markdown ? 'markdown' : 'text'
      const tests = test && testsOf(() => testTable(results, layout, lineWidth(), baseline))
      print(byTask ? tablesByTask(results, layout, lineWidth()) : tablesAtEnd(results, layout, lineWidth()))
      if (tests) print(`\n${tests}`)
      if (out !== undefined) say(path.resolve(out))
    })
}

/** What is wrong with the baseline is told before anything is printed. */
function testsOf(table: () => string): string {
  try {
    return table()
  } catch (error) {
    throw asTyped(error, { testTable: '--baseline' })
  }
}
