import { Group } from '../engine/group.js'
import { ContinualDiffusionError } from '../errors.js'
import { Interrupted, Silent } from './interrupt.js'
import { say, sayAs } from './output.js'

/**
 * Does the work of a command with the processes that a launcher started with this one, if one did. Only the first of them is to print; what it
 * says of the others is not said again by them.
 */
export async function asGroup<T>(work: (group: Group) => Promise<T>): Promise<T> {
  const group = await Group.fromEnvironment()
  if (group.rank > 0) sayAs(`rank ${group.rank}`)
  else if (group.size > 1) say(`${group.size} processes, by ${group.transport}`)
  try {
    return await work(group)
  } catch (error) {
    group.failed(error)
    if (!group.tells && (error instanceof Interrupted || isOfGroup(error))) throw new Silent(error)
    throw error
  }
}

function isOfGroup(error: unknown): boolean {
  return error instanceof ContinualDiffusionError && error.code === 'ERR_GROUP'
}
