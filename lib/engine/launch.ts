import { existsSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { ContinualDiffusionError } from '../errors.js'

type Environment = Readonly<Record<string, string | undefined>>

/** What the environment of a process says of the launcher that started it with others. */
export interface Launch {
  /** Number of processes, where the environment tells it. */
  readonly size: number | undefined
  /** This process's number among those of its machine, and how many they are, where the environment tells it. */
  readonly localRank: number | undefined
  readonly localSize: number | undefined
  /** Where they meet; undefined: by MPI's own means. */
  readonly address:
    | { readonly host: string; readonly port: number; readonly rank: number; readonly size: number }
    | undefined
}

/**
 * Undefined where no launcher started this process.
 *
 * @throws ContinualDiffusionError `ERR_GROUP` where the environment says too little
 */
export function launchOf(env: Environment): Launch | undefined {
  const numberOf = (...names: readonly string[]) => {
    const text = names.map((name) => env[name]).find((value) => value !== undefined)
    return text !== undefined && /^\d+/.test(text) ? Number.parseInt(text, 10) : undefined
  }
  const localRank = numberOf('MPI_LOCALRANKID', 'OMPI_COMM_WORLD_LOCAL_RANK', 'LOCAL_RANK', 'SLURM_LOCALID')
  const localSize = numberOf(
    'MPI_LOCALNRANKS',
    'OMPI_COMM_WORLD_LOCAL_SIZE',
    'LOCAL_WORLD_SIZE',
    'SLURM_STEP_TASKS_PER_NODE',
  )
  const local = { localRank, localSize }
  const signs = ['PMI_RANK', 'PMI_PORT', 'PMIX_RANK', 'OMPI_COMM_WORLD_RANK']
  if (signs.some((name) => env[name] !== undefined)) {
    return { ...local, size: numberOf('PMI_SIZE', 'OMPI_COMM_WORLD_SIZE', 'SLURM_STEP_NUM_TASKS'), address: undefined }
  }
  // srun sets the number for its tasks, and not for the script of a job, which has SLURM_NTASKS.
  const isSlurm = env.SLURM_PROCID !== undefined && env.SLURM_STEP_NUM_TASKS !== undefined
  const rank = isSlurm ? numberOf('SLURM_PROCID') : numberOf('RANK')
  const size = isSlurm ? numberOf('SLURM_STEP_NUM_TASKS') : numberOf('WORLD_SIZE')
  if (rank === undefined || size === undefined) return undefined
  if (size === 1) return { ...local, size, address: undefined }
  const host = env.MASTER_ADDR ?? firstHost(env.SLURM_STEP_NODELIST)
  // Jobs of one machine get different ports.
  const port = numberOf('MASTER_PORT') ?? (isSlurm ? 20_000 + ((numberOf('SLURM_JOB_ID') ?? 0) % 20_000) : undefined)
  if (host === undefined || port === undefined) {
    throw new ContinualDiffusionError(
      'ERR_GROUP',
      `RANK is ${rank} and WORLD_SIZE ${size}, and MASTER_ADDR or MASTER_PORT is not set; expected both, as torchrun sets them: ` +
        'or unset RANK and WORLD_SIZE for a process alone',
    )
  }
  return { ...local, size, address: { host, port, rank, size } }
}

/** Of a list as Slurm writes it, e.g. `node[03-05,9],other`. */
function firstHost(list: string | undefined): string | undefined {
  const [, name, number = ''] = /^([^[,]+)(?:\[(\d+))?/.exec(list ?? '') ?? []
  return name && name + number
}

/**
 * Checks that MPICH's launcher can still be reached. It hands each process a socket, which Node does not hand on to the processes that it starts:
 * npx is such a one.
 *
 * @throws ContinualDiffusionError `ERR_GROUP`
 */
export function checkLauncherSocket(env: Environment): void {
  if (env.PMI_FD === undefined) return
  let found = ''
  try {
    found = readlinkSync(`/proc/self/fd/${Number(env.PMI_FD)}`)
  } catch {
    // none is open
  }
  if (found.startsWith('socket:')) return
  throw new ContinualDiffusionError(
    'ERR_GROUP',
    `the launcher's socket (PMI_FD=${env.PMI_FD}) was not handed on to this process, because npx or another program of Node stands between: ` +
      'start it by `mpirun -pmi-port -n …`, or without npx: `mpirun -n … node_modules/.bin/continual-diffusion …` (likewise `srun --mpi=pmi2`)',
  )
}

const names = ['libmpi_abi.so', 'libmpi_abi.so.1', 'libmpi_abi.so.0']

/** Where libraries of MPI's standard ABI are: files, or names for the dynamic loader to find. */
export function mpiLibraries(env: Environment): readonly string[] {
  const named = env.CONTINUAL_DIFFUSION_MPI
  if (named !== undefined && named !== '') return [named]
  const launchers = (env.PATH ?? '').split(path.delimiter).map((folder) => path.join(folder, 'mpirun'))
  const beside = [...launchers, ...ancestors().map((pid) => `/proc/${pid}/exe`)].flatMap((program) => {
    try {
      const lib = path.join(path.dirname(realpathSync(program)), '..', 'lib')
      return names.map((name) => path.join(lib, name)).filter((file) => existsSync(file))
    } catch {
      return []
    }
  })
  return [...new Set([...beside, ...names])]
}

/** The processes that this one comes from: a launcher's own may have started it through a shell or npx. */
function ancestors(): readonly number[] {
  const found: number[] = []
  try {
    for (let pid = process.ppid; pid > 1 && found.length < 8; ) {
      found.push(pid)
      pid = Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
    }
  } catch {
    // it has ended
  }
  return found
}

/** Threads for each of a machine's processes, where nothing says how many; undefined: libtorch's own number. */
export function threadsEach(env: Environment, localSize: number): number | undefined {
  if (env.OMP_NUM_THREADS !== undefined || localSize < 2) return undefined
  const given = Number(env.SLURM_CPUS_PER_TASK)
  if (Number.isSafeInteger(given) && given > 0) return given
  return Math.max(1, Math.floor(availableParallelism() / localSize))
}
