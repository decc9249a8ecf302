/**
 * Builds the addon against a CUDA build of libtorch, warnings being errors, and uses it: `npm run check:cuda [-- test files]`.
 *
 * For machines with and without a GPU. Works in a copy of the sources, `build-cuda/`. Takes LIBTORCH or, where it is not
 * set, finds or gets a CUDA build as an installation on a machine with a GPU would. Then `doctor`, a training step on the
 * CPU and, where there is one, on the GPU; and tests: those named, else what starting CUDA says and, on a GPU, those
 * that compare numbers with PyTorch's.
 */
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ensureLibtorch } from './libtorch.mjs'
import { SetupError, say } from './tools.mjs'
import { copySources } from './tree.mjs'

for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.on(signal, () => process.exit(1)) // so that what pip has half done is cleaned up
}

/** The tests that run on every device that there is (test/support/devices.ts). */
const onDevices = [
  'ahead',
  'kernels',
  'step',
  'unet',
  'objective',
  'denoising-loss',
  'precision',
  'learn',
  'labels',
  'grow',
  'own-loop',
  'moving-average',
  'classifier',
  'solver',
  'penalties',
  'task-in-progress',
  'replay-pool',
  'timesteps',
  'callback',
]

const tree = copySources('cuda')

/** @param {string[]} args of node; whatever fails ends this process */
function node(...args) {
  const { status } = spawnSync(process.execPath, args, { cwd: tree, env: process.env, stdio: 'inherit' })
  if (status !== 0) process.exit(1)
}

/** @param {string} file */
const built = (file) => import(pathToFileURL(join(tree, 'dist', file)).href)

/** @param {string} device */
async function trainOneStep(device) {
  const { classIncremental, finetune, fromArrays, Learner, presets } = await built('index.js')
  /** @param {string} name */
  const noise = (name) =>
    fromArrays({
      name,
      images: Uint8Array.from({ length: 8 * 32 * 32 }, (_, i) => (i * 89) % 251),
      labels: new Int32Array(8),
      classes: ['any'],
      height: 32,
      width: 32,
      channels: 1,
    })
  const [task] = classIncremental({ train: noise('noise/train'), test: noise('noise/test') }, { tasks: 1 })
  const learner = await Learner.create({ unet: presets.fashionMnist, device, precision: 'fp32', seed: 1 })
  for await (const { loss } of learner.learn(task, finetune(), { steps: 1, batchSize: 8 })) {
    say(`one training step on ${learner.device}: loss ${loss.toFixed(4)}`)
    // A fresh network answers nearly nothing, so the loss is nearly that of the noise itself, which is 1.
    if (!(Math.abs(loss - 1) < 0.3))
      throw new Error(`the loss of the first step on ${device} is ${loss}; expected about 1`)
  }
  learner.dispose()
}

try {
  process.env.LIBTORCH = (await ensureLibtorch(true)).path
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`\n${error.message}\n\n`)
  process.exit(1)
}
process.env.CONTINUAL_DIFFUSION_WERROR = 'ON'
node('scripts/install.mjs')
node('scripts/compile.mjs', '--if-stale')
node('dist/cli/main.js', 'doctor')
const { addon } = await (await built('cli/doctor.js')).doctor()
await trainOneStep('cpu')
const gpu = addon.cudaDevices[0]
if (gpu) await trainOneStep('cuda')

const named = process.argv.slice(2)
const tests = named.length > 0 ? named : ['device', 'failures', 'graph', 'cuda-kernels', ...(gpu ? onDevices : [])]
const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
const files = tests.map((test) => (test.endsWith('.ts') ? test : `test/${test}.test.ts`))
node(vitest, 'run', '--config', join(dirname(tree), 'vitest.config.ts'), '--root', tree, ...files)
say(
  gpu
    ? `CUDA ${addon.cudaVersion}: the addon builds, loads and trains, on the GPU too (${gpu.name})`
    : `CUDA ${addon.cudaVersion}: the addon builds, loads and trains on the CPU. No GPU was used: there is none here`,
)
