import { createHash } from 'node:crypto'
import { writeSync } from 'node:fs'
import { z } from 'zod'
import { ContinualDiffusionError, invalid, messageOf } from '../errors.js'
import { parseOptions } from '../validation/options.js'
import { warn } from '../validation/printable.js'
import type { NativeGroup } from './addon.js'
import { call, withCancel } from './call.js'
import { resolveDevice } from './device.js'
import { checkLauncherSocket, type Launch, launchOf, mpiLibraries, threadsEach } from './launch.js'
import { type Watch, watchRanks } from './lost-ranks.js'

/**
 * Options of {@link Group.fromEnvironment}.
 *
 * @category Groups of processes
 */
export interface GroupOptions {
  /** What gradients are summed in. `bf16` sends half the bytes, and rounds. Default `fp32`. */
  gradients?: 'fp32' | 'bf16'
}

const schema = z.strictObject({ gradients: z.enum(['fp32', 'bf16']).default('fp32') })

/** Limits in seconds. */
const patience = {
  /** A process that ends by an error waits so long for the others before it ends them. */
  failed: 20,
  /** The same of a process that was told to stop. */
  stopped: 300,
  /** A process waits so long at the beginning for the others to come. */
  meeting: 300,
  /** After another process is lost, one whose GPU may wait for it has so long to end. */
  gpu: 15,
}

/**
 * The processes that train one model together, each a rank 0 … size − 1. All run the same program, and so make the same calls of the functions that
 * concern the group, in the same order: those of a learner that was made with the group. A program that no launcher started is a group of one.
 *
 * ```ts
 * const group = await Group.fromEnvironment() // mpirun -n 4 node train.js
 * const learner = await Learner.create({ unet: presets.fashionMnist, group })
 * await learner.train(task, method, { steps: 1000 }) // the same steps as one process takes, up to rounding
 * if (group.rank === 0) await learner.save('learner')
 * ```
 *
 * @category Groups of processes
 */
export class Group {
  /** This process's number, 0 … size − 1. */
  readonly rank: number
  /** Number of processes. */
  readonly size: number
  /** What carries the sums, e.g. `MPICH Version: 5.0.2`; undefined for a group of one. */
  readonly transport: string | undefined
  /** Number of this process among those of the group on its machine; where no device is named, it computes on the CUDA device of this number. */
  readonly localRank: number
  /** Threads of the CPU that suit each process, where several share the machine. */
  readonly threads: number | undefined
  /** @internal */
  readonly native: NativeGroup | undefined
  #why = ''
  #isFirstLost = false
  #isOnGpu = false
  #work: string | undefined

  private constructor(native?: NativeGroup, localRank = 0, threads?: number) {
    this.native = native
    this.rank = native?.rank ?? 0
    this.size = native?.size ?? 1
    this.transport = native?.transport
    this.localRank = localRank
    this.threads = threads
  }

  /**
   * Joins the processes that the same launcher started. A process joins once.
   *
   * - `mpirun`, or `srun` with MPI: it loads a library of MPI 5's standard ABI (`libmpi_abi.so`): the one that `CONTINUAL_DIFFUSION_MPI` names, else
   *   that of the launcher, else the one that the system's loader finds. MPI sums on the CPU, and NCCL on GPUs.
   * - `torchrun`, or whatever else sets `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`, and `srun` without MPI: for GPUs, by NCCL.
   *
   * Where the program ends by an error or is killed, the other processes end within half a minute, with an error that names the rank. By TCP
   * connections to the first process they notice that one was killed.
   *
   * @throws ContinualDiffusionError `ERR_GROUP` where there is no such library, or the processes don't find each other
   */
  static async fromEnvironment(options: GroupOptions = {}): Promise<Group> {
    const { gradients } = parseOptions(schema, options, 'Group.fromEnvironment')
    const launch = launchOf(process.env)
    if (launch === undefined || launch.size === 1) return new Group()
    const native = await inTime(join(launch, gradients))
    const group = new Group(native, launch.localRank, threadsEach(process.env, launch.localSize ?? native.size))
    const expected = launch.size
    process.on('uncaughtExceptionMonitor', (error) => group.failed(error))
    let watch: Watch | undefined
    // Before the engine's own listener, which ends the engine's thread.
    process.prependOnceListener('exit', (code) => {
      // By address nothing but a connection that closes without a word tells the others of a failure.
      if (code === 0 || launch.address === undefined) watch?.leave()
      const isStopped = code >= 128
      native.leaving(
        code === 0 ? 0 : isStopped ? patience.stopped : patience.failed,
        code === 0
          ? 'has ended'
          : isStopped
            ? 'was stopped'
            : `failed: ${group.#why || `it ended with status ${code}`}`,
      )
    })
    if (expected !== undefined && expected !== native.size) {
      throw new ContinualDiffusionError(
        'ERR_GROUP',
        `the launcher started ${expected} processes, and ${native.transport} found ${native.size}: launcher and library don't belong ` +
          'together; use the mpirun that came with the library, or name the library by CONTINUAL_DIFFUSION_MPI',
      )
    }
    watch = await inTime(watchRanks(group, launch.localSize === native.size, (rank) => group.#lose(rank, launch)))
    if (watch.unseen.length > 0 && group.rank === 0) {
      warn(
        `ranks ${watch.unseen.join(', ')} can't reach rank 0 by TCP: where one of them is killed, only the launcher notices it; ` +
          'have it end the others (srun --kill-on-bad-exit)',
        'CONTINUAL_DIFFUSION_UNSEEN_RANKS',
      )
    }
    return group
  }

  /**
   * Whether this process is to tell of what concerns all: the first one, or the second where that was killed.
   *
   * @internal
   */
  get tells(): boolean {
    return this.rank === (this.#isFirstLost ? 1 : 0)
  }

  /** Another process was killed. */
  #lose(rank: number, { address }: Launch): void {
    this.#isFirstLost ||= rank === 0
    const said = `rank ${rank} was killed${address ? ' or ended by an error' : ''}, or its machine failed`
    this.native?.lose(said)
    // MPI's sums are ended so; nothing ends a wait for NCCL.
    if (address === undefined && !this.#isOnGpu) return
    setTimeout(() => endNow(said), patience.gpu * 1000).unref()
  }

  /**
   * Notes where a learner of this group computes.
   *
   * @internal
   */
  noteDevice(device: string): void {
    this.#isOnGpu ||= device !== 'cpu'
  }

  /** What the other processes are told where this one ends by an error. */
  failed(error: unknown): void {
    const code = error instanceof ContinualDiffusionError ? `${error.code}: ` : ''
    this.#why ||= `${code}${messageOf(error)}`
  }

  /**
   * Replaces numbers by their sums over all processes. All call it, with arrays of the same type and length.
   *
   * @throws ContinualDiffusionError `ERR_GROUP` where another process failed
   * @throws signal.reason after an abort
   */
  async sum(numbers: Uint8Array | Float32Array | Float64Array, signal?: AbortSignal): Promise<void> {
    await this.#sum(numbers, false, signal)
  }

  /**
   * Fills in what each process has of an array, zeros elsewhere: all then have the whole, to the bit.
   *
   * @internal
   */
  async gather(array: Uint8Array | Float32Array, signal?: AbortSignal): Promise<void> {
    await this.#sum(array, true, signal)
  }

  async #sum(array: Uint8Array | Float32Array | Float64Array, bits: boolean, signal: AbortSignal | undefined) {
    const { native } = this
    if (native === undefined) return signal?.throwIfAborted()
    await withCancel(signal, (flag) => call(() => native.sum(array, bits, flag)))
  }

  /**
   * Does what sums in several calls of the engine, with no other such work between them: how two would mix, each process's clock decides.
   *
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` where there is other work
   * @internal
   */
  async alone<T>(where: string, work: () => Promise<T>): Promise<T> {
    if (this.#work !== undefined) {
      throw invalid(`${where}: the group is at work for another learner (${this.#work}); expected one after the other`)
    }
    this.#work = where
    try {
      return await work()
    } finally {
      this.#work = undefined
    }
  }

  /** Waits until all processes have come so far. */
  async barrier(signal?: AbortSignal): Promise<void> {
    await this.sum(new Uint8Array(1), signal)
  }

  /**
   * A string of the first process, at all.
   *
   * @internal
   */
  async tell(text: string, signal?: AbortSignal): Promise<string> {
    if (this.size === 1) return text
    const bytes = this.rank === 0 ? new TextEncoder().encode(text) : new Uint8Array()
    const length = Float64Array.of(bytes.length)
    await this.sum(length, signal)
    const all = new Uint8Array(length[0]!)
    all.set(bytes)
    await this.gather(all, signal)
    return new TextDecoder().decode(all)
  }

  /**
   * Does something on the first process, and then on the others: what it keeps in files they find there.
   *
   * @internal
   */
  async firstThenOthers<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.size === 1) return work()
    if (this.rank > 0) await this.barrier(signal)
    const result = await work()
    if (this.rank === 0) await this.barrier(signal)
    return result
  }

  /**
   * Checks that all processes have the same facts.
   *
   * @param facts by what they are about, in the same order everywhere
   * @throws ContinualDiffusionError `ERR_GROUP` that names the ranks and what differs
   * @internal
   */
  async agree(facts: Readonly<Record<string, string>>, where: string, signal?: AbortSignal): Promise<void> {
    if (this.size === 1) return
    const program = call(({ version, libtorchVersion }) => `${version} with libtorch ${libtorchVersion}`)
    const all = { program, ...facts }
    const names = Object.keys(all)
    const digests = new Float64Array(this.size * names.length)
    // 48 bits of each: as many as a number can count.
    const own = Object.values(all).map((fact) => createHash('sha256').update(fact).digest().readUIntBE(0, 6))
    digests.set(own, this.rank * names.length)
    await this.sum(digests, signal)
    const isOther = (rank: number, i: number) => digests[rank * names.length + i] !== digests[i]
    const ranks = Array.from({ length: this.size }, (_, rank) => rank)
    const others = ranks.filter((rank) => names.some((_, i) => isOther(rank, i)))
    if (others.length === 0) return
    const what = names.filter((_, i) => others.some((rank) => isOther(rank, i)))
    throw new ContinualDiffusionError(
      'ERR_GROUP',
      `${where}: ${others.map((rank) => `rank ${rank}`).join(', ')} and rank 0 differ in: ${what.join(', ')}; expected the same on all ranks`,
    )
  }
}

/** An option that is a group. */
export const groupSchema = z.custom<Group>(
  (value) => value instanceof Group,
  'expected a Group, e.g. of Group.fromEnvironment()',
)

/** MPI waits for ever for a process that ended before it came. */
async function inTime<T>(joining: Promise<T>): Promise<T> {
  const why = `the other processes have not come within ${patience.meeting} s; what the launcher says tells why`
  const late = setTimeout(() => endNow(why), patience.meeting * 1000)
  try {
    return await joining
  } finally {
    clearTimeout(late)
  }
}

/** Ends this process, whose engine waits for what nothing calls back. */
function endNow(why: string): void {
  writeSync(2, `ERR_GROUP: ${why}\n`)
  process.kill(process.pid, 'SIGKILL')
}

async function join(launch: Launch, gradients: 'fp32' | 'bf16'): Promise<NativeGroup> {
  const { address } = launch
  if (address) {
    if (call((addon) => addon.cudaVersion) === null) {
      throw new ContinualDiffusionError(
        'ERR_GROUP',
        `this process was started with others that meet at ${address.host}:${address.port} and sum on GPUs, and the libtorch in use is a CPU ` +
          'build; on the CPU start them by mpirun, or by `srun --mpi=pmi2`',
      )
    }
    const { device } = await resolveDevice('cuda', 'auto', launch.localRank)
    const number = Number(device.slice(device.indexOf(':') + 1))
    return call((addon) => addon.joinGroup({ address: { ...address, device: number }, gradients }))
  }
  checkLauncherSocket(process.env)
  const tried: string[] = []
  for (const library of mpiLibraries(process.env)) {
    try {
      return await call((addon) => addon.joinGroup({ library, gradients }))
    } catch (error) {
      const message = messageOf(error)
      if (!message.startsWith(cannotLoad)) throw error
      tried.push(message)
    }
  }
  throw new ContinualDiffusionError(
    'ERR_GROUP',
    `a launcher started this process with others, and there is no library of MPI 5's standard ABI:\n  ${tried.join('\n  ')}\n` +
      'Get one, e.g. MPICH 5 (pip install mpich), use the mpirun beside it, or name it by CONTINUAL_DIFFUSION_MPI',
  )
}

/** How the native message begins where a library is not there. */
const cannotLoad = "MPI can't be loaded"
