import { writeFile } from 'node:fs/promises'
import { replaceFile } from '../files/atomic.js'
import { isProgress, type RunEvent } from './events.js'
import { eventsFile, liveFolder, type RunFolder, statusFile } from './folder.js'

/** Milliseconds between two signs of life, where there is nothing new, and at least between two where there is. */
const pause = { idle: 5000, busy: 1000 }

/** What a run says of itself in its folder, for whoever watches it from elsewhere. */
export interface LiveFiles {
  note(event: RunEvent): void
  /** Waits until all is written. */
  close(): Promise<void>
}

/**
 * Writes events into the folder of their run: those that are not told elsewhere in it, into `events.jsonl`; the newest progress, with a time
 * that is renewed every five seconds, into `live/status.json`.
 *
 * No error of these files ends the run: where its folder can't be written, what matters to it can't be either, and says so.
 */
export function liveFiles(folder: RunFolder): LiveFiles {
  if (!folder.isWriter) return { note() {}, async close() {} }
  let writing = Promise.resolve()
  let progress: RunEvent | undefined
  let last = Number.NEGATIVE_INFINITY
  let isBusy = false
  const then = (work: () => Promise<void>) => {
    writing = writing.then(work).catch(() => {})
  }
  const writeStatus = (state: string, message?: string) => {
    last = performance.now()
    isBusy = true
    then(async () => {
      try {
        const status = JSON.stringify({ time: now(), state, message, progress })
        await replaceFile(folder.toWrite(statusFile), (temporary) => writeFile(temporary, status))
      } finally {
        isBusy = false
      }
    })
  }
  const heartbeat = setInterval(() => {
    if (performance.now() - last >= pause.idle) writeStatus('running')
  }, pause.idle / 5).unref()
  return {
    note(event) {
      if (isProgress(event)) {
        progress = event
        // A slow disk is not asked for more than it can do.
        if (!isBusy && performance.now() - last >= pause.busy) writeStatus('running')
        return
      }
      if (event.kind === 'task' || event.kind === 'checkpoint' || event.kind === 'samples') return
      then(() => folder.log({ time: now(), ...event }, eventsFile))
      if (event.kind === 'end') {
        clearInterval(heartbeat)
        if (event.state === 'complete') then(() => folder.remove(liveFolder))
        else writeStatus(event.state, event.message)
      } else if (event.kind !== 'losses') writeStatus('running')
    },
    async close() {
      clearInterval(heartbeat)
      await writing
    },
  }
}

function now(): string {
  return new Date().toISOString()
}
