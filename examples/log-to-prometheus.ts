/**
 * Lets Prometheus read a run's newest numbers, at http://127.0.0.1:<port>/metrics, in its text format.
 *
 *   import { runExperiment } from 'continual-diffusion/experiment'
 *   await runExperiment({ preset: 'demo' }, { loggers: [prometheus(9464)] })
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Logger } from 'continual-diffusion/experiment'

export function prometheus(port: number): Logger {
  const gauges = new Map<string, Map<string, number>>()

  const server = createServer((request, response) => {
    if (request.url !== '/metrics') return void response.writeHead(404).end()
    const lines = [...gauges].flatMap(([name, samples]) => [
      `# TYPE ${name} gauge`,
      ...[...samples].map(([labels, value]) => `${name}{${labels}} ${value}`),
    ])
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(`${lines.join('\n')}\n`)
  })
  // The run doesn't wait for it.
  server.unref()

  return {
    async begin() {
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
    scalars(step, values, { method, seed }) {
      const quoted = method.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))
      for (const [name, value] of Object.entries({ ...values, step })) {
        const gauge = `continual_diffusion_${name.replace(/[^a-zA-Z0-9_]/g, '_')}`
        const samples = gauges.get(gauge) ?? new Map<string, number>()
        gauges.set(gauge, samples.set(`method="${quoted}",seed="${seed}"`, value))
      }
    },
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
