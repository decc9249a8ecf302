import { watchFolder } from '../experiment/watch-folder.js'
import { type LiveServer, serveLive } from '../report/live/server.js'

/** Milliseconds between two looks into the folder of a run. */
const interval = 1000

/**
 * Serves the page of a run.
 *
 * @param port 0: one that is free
 */
export async function watchRun(folder: string, port: number): Promise<LiveServer> {
  const watched = await watchFolder(folder)
  await watched.poll()
  const server = await serveLive(watched, port)
  const timer = setInterval(() => void watched.poll(), interval)
  return {
    address: server.address,
    async close() {
      clearInterval(timer)
      // What came last is shown, too.
      await watched.poll()
      await server.close()
    },
  }
}
