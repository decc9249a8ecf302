/**
 * Sends a run's numbers to an MLflow tracking server, by its REST API: one MLflow run for each method and seed.
 *
 *   import { runExperiment } from 'continual-diffusion/experiment'
 *   await runExperiment({ preset: 'demo' }, { loggers: [mlflow('http://127.0.0.1:5000', '0')] })
 */
import type { Logged, Logger } from 'continual-diffusion/experiment'

export function mlflow(server: string, experimentId: string): Logger {
  const runs = new Map<string, Promise<string>>()

  const post = async (what: string, body: unknown): Promise<{ run: { info: { run_id: string } } }> => {
    const response = await fetch(`${server}/api/2.0/mlflow/${what}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (!response.ok) throw new Error(`MLflow: ${what}: ${response.status} ${await response.text()}`)
    return (await response.json()) as { run: { info: { run_id: string } } }
  }

  const begin = async ({ method, seed }: Logged) => {
    const tags = Object.entries({ method, seed: String(seed) }).map(([key, value]) => ({ key, value }))
    const body = { experiment_id: experimentId, run_name: `${method}, seed ${seed}`, start_time: Date.now(), tags }
    return (await post('runs/create', body)).run.info.run_id
  }

  const runOf = (of: Logged) => {
    const key = `${of.method} ${of.seed}`
    const run = runs.get(key) ?? begin(of)
    runs.set(key, run)
    // What failed is tried again with the next numbers.
    run.catch(() => runs.delete(key))
    return run
  }

  return {
    async scalars(step, values, of) {
      const timestamp = Date.now()
      const metrics = Object.entries(values).map(([key, value]) => ({ key, value, timestamp, step }))
      await post('runs/log-batch', { run_id: await runOf(of), metrics })
    },
    async close() {
      for (const run of runs.values()) {
        await post('runs/update', { run_id: await run, status: 'FINISHED', end_time: Date.now() })
      }
    },
  }
}
