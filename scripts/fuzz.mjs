/**
 * Feeds the readers of foreign files damaged ones: `npm run fuzz -- --runs 1000000 [--target name] [--seed n]`. What is tried, and what
 * is expected, is in test/fuzz.test.ts, which runs a few thousand with every other test.
 */
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '100000' }, target: { type: 'string' }, seed: { type: 'string' } },
})
const env = {
  ...process.env,
  FUZZ_RUNS: values.runs,
  ...(values.target === undefined ? {} : { FUZZ_TARGET: values.target }),
  // Other inputs every day, unless they are to be repeated.
  FUZZ_SEED: values.seed ?? String(Math.floor(Date.now() / 86_400_000)),
}
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
const { status } = spawnSync(process.execPath, [vitest, 'run', 'test/fuzz.test.ts'], {
  cwd: root,
  env,
  stdio: 'inherit',
})
process.exitCode = status ?? 1
