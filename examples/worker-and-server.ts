// A worker thread trains, while the main thread's HTTP server stays responsive: /progress says how far the training is, and any other
// path is a PNG of new samples. The server stays up when the training has ended. A worker loads JavaScript, so compile it first, e.g.
// `npx tsc worker-and-server.ts --module nodenext --target es2022 --skipLibCheck && node worker-and-server.js 8080 2000`
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isMainThread, MessageChannel, type MessagePort, parentPort, Worker } from 'node:worker_threads'
import {
  classIncremental,
  fashionMnist,
  generativeDistillation,
  type ImageBatch,
  Learner,
  type Progress,
  presets,
} from 'continual-diffusion'
import sharp from 'sharp'

const [port = '8080', steps = '2000'] = process.argv.slice(2)

async function train(main: MessagePort) {
  const learner = await Learner.create({ unet: presets.demo, seed: 42 })
  // Each message is a port that samples are sent to. They are generated between two chunks of training steps.
  main.on('message', async (answer: MessagePort) => {
    answer.postMessage(await learner.sample({ count: 8, seed: learner.stepsDone }))
    answer.close()
  })
  const stream = classIncremental(await fashionMnist({ subset: true, size: 16 }), { tasks: 5, seed: 42 })
  for (const task of stream) {
    const learning = learner.learn(task, generativeDistillation(), { steps: Number(steps), batchSize: 64, lr: 1e-3 })
    for await (const progress of learning) main.postMessage(progress)
  }
}

async function serve() {
  const worker = new Worker(new URL(import.meta.url), { argv: [port, steps] })
  let latest: Progress | null = null
  worker.on('message', (progress: Progress) => {
    latest = progress
  })
  const server = createServer(async (request, response) => {
    if (request.url === '/progress') return response.end(JSON.stringify(latest))
    const { port1, port2 } = new MessageChannel()
    worker.postMessage(port2, [port2])
    const [{ data, count, height, width }] = (await once(port1, 'message')) as [ImageBatch]
    const column = sharp(data, { raw: { width, height: height * count, channels: 1 } })
    response.setHeader('content-type', 'image/png')
    return response.end(await column.png().toBuffer())
  })
  server.listen(Number(port), () => console.log(`http://localhost:${(server.address() as AddressInfo).port}`))
  process.once('SIGINT', async () => {
    server.close()
    server.closeAllConnections()
    await worker.terminate()
  })
}

if (isMainThread) await serve()
else await train(parentPort as MessagePort)
