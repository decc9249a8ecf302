import { exec, execFile } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { engineRecord } from '../lib/engine/load.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'package-'))
const project = join(folder, 'project')
const installed = join(project, 'node_modules', 'continual-diffusion')
const addon = join(installed, 'build', 'Release', 'continual_diffusion.node')
/** Compiles without optimising, in much less time: what is asked here is whether all is there and fits together. */
const compiler = join(folder, 'c++')
writeFileSync(compiler, `#!/bin/sh\nexec ${process.env.CXX ?? 'c++'} "$@" -O0\n`, { mode: 0o755 })
const env = { ...process.env, LIBTORCH: engineRecord()?.libtorch.path, CXX: compiler }

let packed: string[]

/** Packs a copy, as it would be published, and installs the tarball in an empty project: this builds the addon anew. */
beforeAll(async () => {
  const clone = join(folder, 'clone')
  mkdirSync(clone)
  const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { files: string[] }
  const needed = [
    ...files.filter((name) => name !== 'dist'),
    'package.json',
    'lib',
    'scripts',
    'tsconfig.json',
    'README.md',
    'LICENSE',
  ]
  for (const name of needed) {
    if (existsSync(join(root, name))) cpSync(join(root, name), join(clone, name), { recursive: true })
  }
  symlinkSync(join(root, 'node_modules'), join(clone, 'node_modules'))
  mkdirSync(join(clone, 'docs', 'api'), { recursive: true })
  writeFileSync(join(clone, 'docs', 'api', 'index.html'), 'pages that are made')
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: clone, env })
  const [tarball] = JSON.parse(stdout.slice(stdout.search(/^\[/m))) as { filename: string; files: { path: string }[] }[]
  packed = tarball?.files.map(({ path }) => path) ?? []
  await run(join(root, 'node_modules', '.bin', 'publint'), ['--strict', clone])

  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), '{"private":true}')
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', join(folder, tarball?.filename ?? '')], {
    cwd: project,
    env,
  })
}, 900_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('the tarball holds what an installation needs, and no more', () => {
  for (const file of [
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli/main.js',
    'CMakeLists.txt',
    'docs/installation.md',
    'examples/first.ts',
    'scripts/install.mjs',
    'README.md',
    'LICENSE',
  ]) {
    expect(packed).toContain(file)
  }
  expect(packed.some((path) => path.startsWith('native/') && path.endsWith('.cc'))).toBe(true)
  expect(packed.some((path) => path.startsWith('data/'))).toBe(true)
  expect(packed.filter((path) => /^(lib|test|build|node_modules|shared|docs\/api)\//.test(path))).toEqual([])
})

test('the links of its pages lead to files of the package', () => {
  const pages = packed.filter((path) => path.endsWith('.md'))
  expect(pages).toEqual(expect.arrayContaining(['README.md', 'docs/README.md', 'docs/measurements/cpu.md']))
  const links = pages.flatMap((page) =>
    [...readFileSync(join(installed, page), 'utf8').matchAll(/\]\(([^)#\s]+)[^)]*\)/g)]
      .filter(([, link]) => !/^https?:/.test(link as string))
      .map(([, link]) => ({ page, link, file: join(installed, dirname(page), link as string) })),
  )
  expect(links.length).toBeGreaterThan(20)
  expect(links.filter(({ file }) => !existsSync(file))).toEqual([])
})

test('installing it builds the addon against the libtorch named, and leaves no more of the build', () => {
  expect(existsSync(addon)).toBe(true)
  expect(readdirSync(join(installed, 'build')).sort()).toEqual(['Release', 'build.log', 'engine.json'])
  const record = JSON.parse(readFileSync(join(installed, 'build', 'engine.json'), 'utf8'))
  expect(record.libtorch.path).toBe(env.LIBTORCH)
})

/** Runs a program of a project: it prints how many numbers a learner predicts, or why it can't. */
async function predict(cwd: string, type: 'module' | 'commonjs' = 'module'): Promise<string> {
  const imported = {
    module: "import { Learner } from 'continual-diffusion'",
    commonjs: "const { Learner } = require('continual-diffusion')",
  }
  const code = `${imported[type]}
    const unet = { in_channels: 1, out_channels: 1, sample_size: 8, block_out_channels: [8, 8], norm_num_groups: 4,
      down_block_types: ['DownBlock2D', 'DownBlock2D'], up_block_types: ['UpBlock2D', 'UpBlock2D'], layers_per_block: 1 }
    Learner.create({ unet, device: 'cpu', precision: 'fp32', seed: 1 }).then(async (learner) => {
      const prediction = await learner.predict(new Float32Array(64), new Int32Array([10]))
      console.log(prediction.length)
      await learner.dispose()
    }).catch(({ code, message }) => console.log(code, message))`
  const { stdout } = await run(process.execPath, [`--input-type=${type}`, '-e', code], { cwd })
  return stdout.trim()
}

test.each(['module', 'commonjs'] as const)('it gives a %s a learner that predicts', async (type) => {
  expect(await predict(project, type)).toBe('64')
})

test('its command line runs, and finds all well', async () => {
  const { stdout } = await run('npx', ['--no', 'continual-diffusion', 'doctor'], { cwd: project, env })
  expect(stdout).toMatch(/^addon +\S+, loads, with libtorch/m)
})

test('where npm ignores scripts, the command that the error names builds the addon', async () => {
  const other = join(folder, 'other')
  const built = join(installed, 'build')
  cpSync(project, other, { recursive: true, filter: (source) => source !== built })
  writeFileSync(join(other, '.npmrc'), 'ignore-scripts=true\n')
  const refusal = await predict(other)
  expect(refusal).toMatch(/^ERR_ADDON_NOT_BUILT /)
  const command = /Run `([^`]+)`/.exec(refusal)?.[1] as string
  // To compile again would take minutes: this CMake says that it did.
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  const cmake = `#!/bin/sh\nif [ "$1" = --build ]; then mkdir "$2/Release" && cp ${addon} "$2/Release"; else echo cmake version 3.25.1; fi\n`
  writeFileSync(join(bin, 'cmake'), cmake, { mode: 0o755 })
  await promisify(exec)(command, { cwd: other, env: { ...env, PATH: `${bin}${delimiter}${process.env.PATH}` } })
  expect(await predict(other)).toBe('64')
})
