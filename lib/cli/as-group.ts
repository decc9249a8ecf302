import { Group } from '../engine/group.js'
import { ContinualDiffusionError } from '../errors.js'
import { Interrupted, interrupting, Silent } from './interrupt.js'
import { say, sayAs } from './output.js'

/**
 * Does the work of a command with the processes that a launcher started with this one, if one did. Only the first of them is to print; what it
 * says of the others is not said again by them.
 */
export async function asGroup<T>(work: (group: Group) => Promise<T>, signal: AbortSignal): Promise<T> {
  const group = await joined(signal)
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

/** MPI waits for the other processes, and nothing calls it back: a signal ends the process as if nobody listened to it. */
async function joined(signal: AbortSignal): Promise<Group> {
  const end = () => {
    const { reason } = signal
    if (!(reason instanceof Interrupted)) return
    say(reason.message)
    for (const name of interrupting) process.removeAllListeners(name)
    process.kill(process.pid, reason.status - 128)
  }
  signal.addEventListener('abort', end)
  try {
    return await Group.fromEnvironment()
  } finally {
    signal.removeEventListener('abort', end)
  }
}

function isOfGroup(error: unknown): boolean {
  return error instanceof ContinualDiffusionError && error.code === 'ERR_GROUP'
}
