/**
 * Sends a run's numbers and pictures to Weights & Biases, by its Python package (`pip install wandb`), one W&B run for each method and seed in
 * one group. A resumed run goes on in the same W&B runs.
 *
 *   import { runExperiment } from 'continual-diffusion/experiment'
 *   await runExperiment({ preset: 'demo' }, { loggers: [wandb('my-project')] })
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import path from 'node:path'
import type { Logged, Logger } from 'continual-diffusion/experiment'

/** Reads a line of JSON for each call of `log`. */
const bridge = `
import base64, io, json, sys
import wandb
runs = {}
for line in sys.stdin:
    m = json.loads(line)
    if m["id"] not in runs:
        runs[m["id"]] = wandb.init(project=m["project"], group=m["group"], name=m["name"], id=m["id"], resume="allow", reinit="create_new")
    values = m.get("values")
    if values is None:
        from PIL import Image
        values = {m["image"]: wandb.Image(Image.open(io.BytesIO(base64.b64decode(m["png"]))))}
    runs[m["id"]].log(values, step=m["step"])
for run in runs.values():
    run.finish()
`

export function wandb(project: string, python = 'python3'): Logger {
  let folder = ''
  let child: ChildProcess | undefined
  let ended: Promise<unknown[]> | undefined

  const send = async (of: Logged, message: Record<string, unknown>) => {
    if (child === undefined) {
      child = spawn(python, ['-c', bridge], { stdio: ['pipe', 'ignore', 'inherit'] })
      // What it says is in its exit status; a pipe whose reader has gone is no reason to end this process.
      child.stdin?.on('error', () => {})
      ended = once(child, 'exit')
    }
    if (child.exitCode !== null) throw new Error(`the bridge to W&B has ended with status ${child.exitCode}`)
    const id = createHash('sha256').update(`${folder} ${of.method} ${of.seed}`).digest('hex').slice(0, 16)
    const run = { id, project, group: path.basename(folder), name: `${of.method}, seed ${of.seed}` }
    if (child.stdin?.write(`${JSON.stringify({ ...run, ...message })}\n`) === false) {
      await Promise.race([once(child.stdin, 'drain').catch(() => {}), ended])
    }
  }

  return {
    begin(at) {
      folder = at
    },
    scalars: (step, values, of) => send(of, { step, values }),
    image: (step, image, png, of) => send(of, { step, image, png: Buffer.from(png).toString('base64') }),
    async close() {
      child?.stdin?.end()
      const [status] = (await ended) ?? [0]
      if (status !== 0) throw new Error(`the bridge to W&B has ended with status ${status}`)
    },
  }
}
