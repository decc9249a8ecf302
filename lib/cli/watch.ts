import { type Command, Option } from 'commander'
import { asTyped, port } from './arguments.js'
import { say } from './output.js'

/** The port of the page; one that is free where it isn't given. */
export function portOption(): Option {
  return new Option('--port <number>', 'port of the page (default: one that is free)').argParser(port)
}

/** What messages call it. */
export const typedPort = { 'watchRun: port': '--port' }

/** Adds the command `watch`: the page of a run under way. */
export function registerWatch(program: Command, signal: AbortSignal): void {
  program
    .command('watch')
    .description('serve a page of a run under way, or of one that has ended, to this machine alone')
    .argument('<run>', 'run folder')
    .addOption(portOption())
    .action(async (run: string, { port = 0 }: { port?: number }) => {
      const { watchRun } = await import('../experiment/watch-run.js')
      const watching = await watchRun(run, { port }).catch((error: unknown) => {
        throw asTyped(error, typedPort)
      })
      say(`watch at ${watching.address}`)
      try {
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
      } finally {
        await watching.close()
      }
    })
}
