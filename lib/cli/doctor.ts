import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { type KnownName, knownSources, locate } from '../data/known.js'
import { type EngineRecord, engineRecord, rebuild, rebuildHelps } from '../engine/load.js'
import { type Trial, type TriedTransport, trial } from '../engine/trial.js'
import { messageOf } from '../errors.js'
import { counted } from '../validation/names.js'
import { asRun } from './as-run.js'

/** A tool of the build: its version and path, or what was tried in vain. */
export interface ToolReport {
  readonly path?: string
  readonly version: string
  readonly tried: readonly string[]
}

/** A data set and the places where it is. */
export interface DataSetReport {
  readonly name: KnownName
  readonly places: readonly { readonly kind: string; readonly path: string }[]
}

/** What `continual-diffusion doctor` found on this machine. */
export interface DoctorReport {
  /** True when the addon loads: everything else is only needed to build it, or can be got. */
  readonly ok: boolean
  readonly node: { readonly version: string; readonly platform: string; readonly path: string }
  readonly compiler: ToolReport
  readonly cmake: ToolReport
  /** What CMake builds with: Ninja or make. */
  readonly builder: ToolReport
  /** Python with pip, which gets libtorch. */
  readonly python: ToolReport
  /** The libtorch that the addon was built against; null before any build. */
  readonly libtorch: (EngineRecord['libtorch'] & { readonly exists: boolean }) | null
  /** The libtorch that an installation would take now; where it would get one, what it looked at. */
  readonly libtorchNow: EngineRecord['libtorch'] | { readonly tried: readonly string[] }
  /** Instruction sets of the processor that matter here, by Linux's names. */
  readonly instructionSets: readonly string[]
  /** Number of processors that this process may use. */
  readonly processors: number
  /** What a child process that loaded it said. */
  readonly addon: Trial | { readonly error: string }
  readonly dataSets: readonly DataSetReport[]
}

/** The installation's own functions, which are plain JavaScript because they run before anything is compiled. */
interface InstallationTools {
  findCompiler(): ToolReport
  findCMake(): ToolReport
  findBuilder(): ToolReport
  findPip(): ToolReport
  findLibtorch(): { found?: EngineRecord['libtorch']; tried: string[] }
}

const instructionSets = ['avx2', 'avx512f', 'avx512_bf16', 'amx_tile', 'amx_bf16', 'asimd', 'bf16', 'sve']

/** Looks at the machine. Loads the addon in a child process only, so that a crash is reported and not suffered. */
export async function doctor(): Promise<DoctorReport> {
  const tools = await installationTools()
  const [addon, flags, dataSets] = await Promise.all([tryAddon(), cpuFlags(), findDataSets()])
  const libtorch = engineRecord()?.libtorch
  return {
    ok: !('error' in addon),
    node: { version: process.version, platform: `${process.platform}-${process.arch}`, path: process.execPath },
    compiler: tools.findCompiler(),
    cmake: tools.findCMake(),
    builder: tools.findBuilder(),
    python: tools.findPip(),
    libtorch: libtorch ? { ...libtorch, exists: existsSync(libtorch.path) } : null,
    libtorchNow: libtorchNow(tools),
    instructionSets: instructionSets.filter((name) => flags.has(name)),
    processors: availableParallelism(),
    addon,
    dataSets,
  }
}

/**
 * The command: looks and prints.
 *
 * @param write takes the text
 * @param json whether the text is the {@link DoctorReport} as JSON
 * @returns true when the addon loads
 */
export async function runDoctor(write: (text: string) => void, json = false): Promise<boolean> {
  const report = await doctor()
  write(json ? `${JSON.stringify(report, null, 2)}\n` : formatDoctor(report))
  return report.ok
}

/** The report as lines for people. */
export function formatDoctor(report: DoctorReport): string {
  const lines: string[] = []
  const say = (name: string, ...values: readonly string[]) => {
    values.forEach((value, i) => {
      lines.push(`${(i === 0 ? name : '').padEnd(18)}${value}`)
    })
  }
  const tool = ({ path, version, tried }: ToolReport) => (path ? [`${version} (${path})`] : ['not found', ...tried])
  const { node, libtorch, libtorchNow, addon } = report

  say('Node', `${node.version}, ${node.platform} (${node.path})`)
  say('compiler', ...tool(report.compiler))
  say('CMake', ...tool(report.cmake))
  say('Ninja or make', ...tool(report.builder))
  say('Python with pip', ...tool(report.python))
  if (libtorch) {
    say('libtorch', `${libtorch.version}, ${build(libtorch.variant)}`, libtorch.path)
    if (!libtorch.exists) say('', 'this folder is gone: install again')
  } else {
    say('libtorch', 'none: the addon has not been built yet')
  }
  if ('tried' in libtorchNow) say('', 'an installation would get it with pip:', ...libtorchNow.tried)
  else if (libtorchNow.path !== libtorch?.path) {
    const { version, variant, path } = libtorchNow
    say('', `an installation would take ${version}, ${build(variant)}, at ${path}`)
  }
  const sets = report.instructionSets.join(', ') || 'none that the kernels use'
  say('processor', `${counted(report.processors, 'thread')}; ${sets}`)
  if ('error' in addon) {
    say('addon', `does not load: ${addon.error}`)
    if (rebuildHelps(addon.error)) say('', `to mend: ${rebuild} (in a clone: npm run build)`)
    else
      say(
        '',
        'to mend: put right what is named here, e.g. install the library. Building the addon again does not help.',
      )
  } else {
    const { cpu, cudaVersion, cudaDevices, cudaError } = addon
    say('addon', `${addon.version}, loads, with libtorch ${addon.libtorchVersion}`)
    say(
      'devices',
      `cpu (${cpu.capability}, ${counted(cpu.threads, 'thread')}, bf16 ${cpu.bf16 ? 'native' : 'not native'})`,
    )
    for (const [i, { name, error, noKernels }] of cudaDevices.entries()) {
      say('', `cuda:${i} (${name}, CUDA ${cudaVersion})`)
      if (error !== null) say('', ...`it can't be used: ${error}`.split('\n'))
      if (noKernels !== null) say('', ...`without the kernels of continual-diffusion: ${noKernels}`.split('\n'))
    }
    if (cudaVersion === null) say('', 'no CUDA: this libtorch is a CPU build')
    else if (cudaError !== null) say('', `libtorch's CUDA ${cudaVersion} can't start: ${cudaError}`)
    else if (cudaDevices.length === 0) say('', `no CUDA device found by libtorch's CUDA ${cudaVersion}`)
    const transport = (found: TriedTransport) =>
      'error' in found ? `none: ${found.error}` : `${found.version} (${found.library})`
    say('many processes', `on the CPU by MPI: ${transport(addon.mpi)}`)
    if (cudaVersion !== null) say('', `on GPUs by NCCL: ${transport(addon.nccl)}`)
  }
  for (const { name, places } of report.dataSets) {
    const found = places.map(({ kind, path }) => `${kind === 'subset' ? 'small part' : kind}: ${path}`)
    say(
      name,
      ...(found.length > 0
        ? found
        : [`not found: it is downloaded when it is used, or now by: ${asRun('data', 'get', name)}`]),
    )
  }
  return `${lines.join('\n')}\n`
}

function build(variant: string): string {
  return variant === 'cpu' ? 'CPU build' : `CUDA build (${variant})`
}

async function installationTools(): Promise<InstallationTools> {
  // By address, not by specifier: these lie outside of what is compiled.
  const load = (name: string) => import(new URL(`../../scripts/${name}.mjs`, import.meta.url).href)
  return { ...(await load('tools')), ...(await load('libtorch')) } as InstallationTools
}

function libtorchNow(tools: InstallationTools): DoctorReport['libtorchNow'] {
  try {
    const { found, tried } = tools.findLibtorch()
    return found ?? { tried }
  } catch (error) {
    // LIBTORCH names something that an installation would refuse; its message says why.
    return { tried: messageOf(error).split('\n') }
  }
}

async function cpuFlags(): Promise<Set<string>> {
  const info = await readFile('/proc/cpuinfo', 'utf8').catch(() => '')
  return new Set(/^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1]?.split(' '))
}

async function findDataSets(): Promise<DataSetReport[]> {
  const names = Object.keys(knownSources) as KnownName[]
  return Promise.all(
    names.map(async (name) => ({
      name,
      places: (await locate(name)).filter(({ found }) => found).map(({ kind, path }) => ({ kind, path })),
    })),
  )
}

/**
 * Tries an addon, and all CUDA devices with it.
 *
 * @param file default: this package's addon
 */
export function tryAddon(file?: string): Promise<DoctorReport['addon']> {
  return trial(file === undefined ? {} : { file }).catch((error: Error) => ({ error: error.message }))
}
