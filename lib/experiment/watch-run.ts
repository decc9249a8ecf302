import { z } from 'zod'
import { pathSchema, signalSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { watchFolder } from './watch-folder.js'

/**
 * Options of {@link watchRun}.
 *
 * @category Runs
 */
export interface WatchOptions {
  /** TCP port of the page, 0 … 65535. Default 0: one that is free. */
  readonly port?: number
  /** An abort closes the page. */
  readonly signal?: AbortSignal
}

/**
 * The live page of a run, as it is served.
 *
 * @category Runs
 */
export interface WatchedRun {
  /** URL of the page, with the random token without which nothing is served. */
  readonly address: string
  /** Shows what came last, and ends the server. May be called twice. */
  close(): Promise<void>
  /** Closes it, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

const schema = z.strictObject({ port: z.int().min(0).max(65_535).default(0), signal: signalSchema.optional() })

/** Milliseconds between two looks into the folder of a run. */
const interval = 1000

/**
 * Serves the live page of a run folder to this machine alone, as the command `watch` does: of a run under way in this process or another, or of
 * one that has ended. It only reads the folder. The process goes on until the page is closed.
 *
 * @param folder that `runExperiment` writes; the event `folder` says which
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` where the folder holds no run, `ERR_BAD_DATA` for a damaged `config.json`,
 *   `ERR_INVALID_ARGUMENT` where the port is taken or may not be used; `signal.reason` after an abort
 *
 * @category Runs
 */
export async function watchRun(folder: string, options: WatchOptions = {}): Promise<WatchedRun> {
  parseOptions(pathSchema, folder, 'watchRun: folder')
  const { port, signal } = parseOptions(schema, options, 'watchRun')
  signal?.throwIfAborted()
  const watched = await watchFolder(folder)
  await watched.poll()
  const { serveLive } = await import('../report/live/server.js')
  const server = await serveLive(watched, port)
  const timer = setInterval(() => void watched.poll(), interval)
  let closing: Promise<void> | undefined
  const end = async () => {
    clearInterval(timer)
    signal?.removeEventListener('abort', close)
    await watched.poll()
    await server.close()
  }
  const close = () => {
    closing ??= end()
    return closing
  }
  signal?.addEventListener('abort', close)
  if (signal?.aborted) {
    await close()
    signal.throwIfAborted()
  }
  return { address: server.address, close, [Symbol.asyncDispose]: close }
}
