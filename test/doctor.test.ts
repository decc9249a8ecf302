import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { type DoctorReport, doctor, formatDoctor, runDoctor, tryAddon } from '../lib/cli/doctor.js'
import { engineRecord, loadAddon } from '../lib/engine/load.js'
import { startCommand } from './support/child.js'

const folder = mkdtempSync(join(tmpdir(), 'doctor-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A module that stands in for the addon. */
function addon(name: string, code: string): string {
  const file = join(folder, `${name}.cjs`)
  writeFileSync(file, code)
  return file
}

describe('the addon is tried in a child process', () => {
  test('one that is missing is named', async () => {
    const file = join(folder, 'none.node')
    expect(await tryAddon(file)).toEqual({ error: expect.stringContaining(file) })
  })

  test('one that crashes is reported with its signal', async () => {
    expect(await tryAddon(addon('crash', 'process.abort()'))).toEqual({ error: expect.stringContaining('SIGABRT') })
  })

  test('one that throws is reported with its message', async () => {
    const file = addon('throw', 'throw new Error("libtorch_cpu.so: cannot open shared object file")')
    expect(await tryAddon(file)).toEqual({
      error: expect.stringContaining('libtorch_cpu.so: cannot open shared object'),
    })
  })
})

describe('doctor', () => {
  test('says what this process finds too', async () => {
    const report = await doctor()
    const native = loadAddon()
    expect(report.ok).toBe(true)
    expect(report.node.version).toBe(process.version)
    expect(report.processors).toBe(availableParallelism())
    expect(report.addon).toMatchObject({
      version: native.version,
      libtorchVersion: native.libtorchVersion,
      cpu: native.cpu(),
    })
    expect(report.libtorch).toEqual({ ...engineRecord()?.libtorch, exists: true })
    expect(native.libtorchVersion).toContain(report.libtorch?.version)
    expect(report.compiler.path).toBeDefined()
    expect(report.cmake.version).toMatch(/^\d+\.\d+/)
    const fashion = report.dataSets.find(({ name }) => name === 'fashion-mnist')
    expect(fashion?.places).toContainEqual(expect.objectContaining({ kind: 'subset' }))
  })

  test('prints a line for each of them', async () => {
    let text = ''
    expect(await runDoctor((part) => (text += part))).toBe(true)
    for (const name of [
      'Node',
      'compiler',
      'CMake',
      'Ninja or make',
      'Python with pip',
      'libtorch',
      'processor',
      'addon',
      'devices',
      'fashion-mnist',
      'mnist',
    ]) {
      expect(text).toMatch(new RegExp(`^${name} +\\S`, 'm'))
    }
    expect(text).toContain(engineRecord()?.libtorch.path)
  })

  test('prints all of it as JSON', async () => {
    let text = ''
    expect(await runDoctor((part) => (text += part), true)).toBe(true)
    expect(JSON.parse(text)).toMatchObject({ ok: true, node: { version: process.version }, addon: { cpu: {} } })
  })

  test('says what is missing and what mends it', () => {
    const report: DoctorReport = {
      ok: false,
      node: { version: 'v20.19.0', platform: 'linux-x64', path: '/usr/bin/node' },
      compiler: { version: '', tried: ['c++: not on PATH'] },
      cmake: { path: '/usr/bin/cmake', version: '3.25.1', tried: [] },
      builder: { path: '/usr/bin/ninja', version: 'Ninja 1.11.1', tried: [] },
      python: { version: '', tried: ['python3: not on PATH'] },
      libtorch: { path: '/gone', version: '2.13.0', variant: 'cu130', source: 'pip', exists: false },
      libtorchNow: { tried: ['LIBTORCH: not set'] },
      instructionSets: ['avx512f', 'amx_bf16'],
      processors: 2,
      addon: { error: 'its process ended by SIGSEGV' },
      dataSets: [{ name: 'mnist', places: [] }],
    }
    const text = formatDoctor(report)
    expect(text).toMatch(/^compiler +not found\n +c\+\+: not on PATH$/m)
    expect(text).toMatch(/^libtorch +2\.13\.0, CUDA build \(cu130\)\n +\/gone\n +this folder is gone: install again$/m)
    expect(text).toMatch(/^addon +does not load: its process ended by SIGSEGV\n +to mend: npm rebuild/m)
    expect(text).toMatch(/^Python with pip +not found\n +python3: not on PATH$/m)
    expect(text).toMatch(/^mnist +not found: .* data get mnist$/m)
    const error = 'Error: libgomp.so.1: cannot open shared object file: No such file or directory (exit code 1)'
    const other = formatDoctor({ ...report, addon: { error } })
    expect(other).toMatch(/^addon .*libgomp.*\n +to mend: put right what is named/m)
    expect(other).not.toContain('rebuild')
  })
})

test('SIGTERM ends it, also while it waits for its child process', async () => {
  const { child, ended } = startCommand(folder, 'doctor')
  const children = `/proc/${child.pid}/task/${child.pid}/children`
  await vi.waitFor(() => expect(readFileSync(children, 'utf8')).not.toBe(''), { timeout: 30_000, interval: 5 })
  child.kill('SIGTERM')
  expect(await ended).toMatchObject({ status: 143, stderr: 'stopped by SIGTERM\n' })
}, 60_000)
