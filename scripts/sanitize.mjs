/**
 * Runs the tests of the native part under a sanitizer: `npm run sanitize -- address|undefined|thread [test files]`.
 *
 * Works in a copy of the sources, `build-<sanitizer>/`, whose own `build/` holds the instrumented addon: tests, and the processes that
 * they start, find it where an addon always is. Only our own code is instrumented; libtorch and Node are as they are. Every report is
 * a file in `build-<sanitizer>/reports/`; the command fails when there is one, or when a test fails.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ask, requireBuildTools, SetupError, say, which } from './tools.mjs'
import { copySources } from './tree.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Tests that call the addon or, as that of the kernels, some of its sources, in their own process or in others. */
const nativeTests = [
  'binding',
  'classifier',
  'ddim',
  'denoising-loss',
  'evaluate',
  'failures',
  'graph',
  'grow',
  'guidance',
  'kernels',
  'labels',
  'learn',
  'learner',
  'learning-with-penalties',
  'memory',
  'metrics',
  'moving-average',
  'own-loop',
  'penalties',
  'precision',
  'processes',
  'resume',
  'sample',
  'solver',
  'solver-folder',
  'step',
  'task-in-progress',
  'torch-script',
  'unet',
  'untrusted',
]

/** Tests of what is resident, which a sanitizer's own memory drowns. */
const leftOut = 'gives memory back'

/**
 * Each sanitizer's run-time options, and the libraries that must be loaded before Node's own: its interceptors have to come first.
 * @type {Readonly<Record<string, { variable: string, options: string[], preload: string[] }>>}
 */
const sanitizers = {
  // Node leaves what it holds to the end of the process; test/leaks.test.ts measures what really grows.
  address: { variable: 'ASAN_OPTIONS', options: ['detect_leaks=0'], preload: ['libasan.so', 'libstdc++.so.6'] },
  undefined: { variable: 'UBSAN_OPTIONS', options: ['print_stacktrace=1'], preload: [] },
  thread: {
    variable: 'TSAN_OPTIONS',
    options: [`suppressions=${join(root, 'scripts', 'tsan.supp')}`],
    preload: ['libtsan.so', 'libstdc++.so.6'],
  },
}

/**
 * @param {string} program
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 */
function run(program, args, env = {}) {
  const { status } = spawnSync(program, args, { cwd: tree, env: { ...process.env, ...env }, stdio: 'inherit' })
  return status === 0
}

const [name = '', ...files] = process.argv.slice(2)
const sanitizer = sanitizers[name]
if (sanitizer === undefined) {
  process.stderr.write(`usage: npm run sanitize -- ${Object.keys(sanitizers).join('|')} [test files]\n`)
  process.exit(1)
}
const tree = copySources(name)
const reports = join(tree, 'reports')
rmSync(reports, { recursive: true, force: true })
mkdirSync(reports, { recursive: true })

let compiler
try {
  compiler = requireBuildTools().compiler
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`\n${error.message}\n\n`)
  process.exit(1)
}
if (!run(process.execPath, ['scripts/install.mjs'], { CONTINUAL_DIFFUSION_SANITIZE: name })) process.exit(1)
if (!run(process.execPath, ['scripts/compile.mjs', '--if-stale'])) process.exit(1)

const preload = sanitizer.preload.map((library) =>
  realpathSync(ask(compiler, [`-print-file-name=${library}`]).output.trim()),
)
// The one that is built into GCC's run-time libraries finds no names of an addon's functions.
const symbolizer = which('llvm-symbolizer')
const options = [
  ...sanitizer.options,
  `log_path=${join(reports, 'report')}`,
  ...(symbolizer === undefined ? [] : [`external_symbolizer_path=${symbolizer}`]),
]
const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
const passed = run(
  process.execPath,
  [
    vitest,
    'run',
    '--config',
    join(root, 'vitest.config.ts'),
    '--root',
    tree,
    '--testTimeout=1200000',
    '--hookTimeout=1200000',
    `--testNamePattern=^(?!.*${leftOut})`,
    ...(files.length > 0 ? files : nativeTests.map((test) => `test/${test}.test.ts`)),
  ],
  {
    LD_PRELOAD: preload.join(':'),
    [sanitizer.variable]: options.join(':'),
  },
)
const found = readdirSync(reports)
for (const report of found)
  process.stderr.write(`\n${basename(report)}\n${readFileSync(join(reports, report), 'utf8')}`)
say(`${name}: the tests ${passed ? 'passed' : 'failed'}, ${found.length} processes had findings`)
process.exitCode = passed && found.length === 0 ? 0 : 1
