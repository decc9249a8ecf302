import { inWords } from '../report/summary.js'
import { type DataConfig, dataTitle } from './data.js'
import { type StreamConfig, taskCount } from './stream.js'

/** Heading of a report that was given none, e.g. `Split Fashion-MNIST in five tasks`. */
export function titleOf(data: readonly DataConfig[], stream: StreamConfig): string {
  const name = data.map(dataTitle).join(', then ')
  const tasks = taskCount(stream, data.length)
  if (stream.kind === 'from-datasets' || tasks === 1) return name
  const inTasks = `in ${inWords(tasks)}`
  if (stream.kind === 'class-incremental') return `Split ${name} ${inTasks} tasks`
  return `${name} ${inTasks} ${stream.kind === 'domain-incremental' ? 'domains' : 'shares'}`
}
