import { type DataConfig, dataTitle } from './data.js'
import { type StreamConfig, taskCount } from './stream.js'

const numbers = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten']

/** Heading of a report that was given none, e.g. `Split Fashion-MNIST in five tasks`. */
export function titleOf(data: readonly DataConfig[], stream: StreamConfig): string {
  const name = data.map(dataTitle).join(', then ')
  const tasks = taskCount(stream, data.length)
  if (stream.kind === 'from-datasets' || tasks === 1) return name
  const inTasks = `in ${numbers[tasks - 1] ?? tasks}`
  if (stream.kind === 'class-incremental') return `Split ${name} ${inTasks} tasks`
  return `${name} ${inTasks} ${stream.kind === 'domain-incremental' ? 'domains' : 'shares'}`
}
