import { expect, it } from 'vitest'
import { checkLauncherSocket, launchOf, mpiLibraries, threadsEach } from '../lib/engine/launch.js'

it('a process without a launcher is alone, in the script of a Slurm job too', () => {
  expect(launchOf({})).toBeUndefined()
  expect(launchOf({ SLURM_JOB_ID: '7', SLURM_NTASKS: '4', SLURM_PROCID: '0', SLURM_LOCALID: '0' })).toBeUndefined()
})

const local = { localRank: 1, localSize: 2 }

it.each([
  ['mpirun of MPICH', { PMI_RANK: '3', PMI_SIZE: '4', PMI_FD: '9', MPI_LOCALRANKID: '1', MPI_LOCALNRANKS: '2' }, 4],
  ['mpirun -pmi-port', { PMI_PORT: 'host:1', PMI_ID: '3', MPI_LOCALRANKID: '1', MPI_LOCALNRANKS: '2' }, undefined],
  [
    'mpirun of Open MPI',
    { PMIX_RANK: '3', OMPI_COMM_WORLD_SIZE: '4', OMPI_COMM_WORLD_LOCAL_RANK: '1', OMPI_COMM_WORLD_LOCAL_SIZE: '2' },
    4,
  ],
  [
    'srun --mpi=pmi2',
    {
      ...{ PMI_RANK: '3', PMI_SIZE: '4', PMI_FD: '9', SLURM_PROCID: '3', SLURM_STEP_NUM_TASKS: '4' },
      ...{ SLURM_LOCALID: '1', SLURM_STEP_TASKS_PER_NODE: '2(x2)' },
    },
    4,
  ],
])('%s leaves it to MPI where the processes meet', (_, env, size) => {
  expect(launchOf(env)).toEqual({ ...local, size, address: undefined })
})

it('torchrun tells where the processes meet', () => {
  const env = { RANK: '3', WORLD_SIZE: '4', LOCAL_RANK: '1', LOCAL_WORLD_SIZE: '2' }
  const address = { MASTER_ADDR: '10.0.0.1', MASTER_PORT: '29500' }
  expect(launchOf({ ...env, ...address })).toEqual({
    ...local,
    size: 4,
    address: { host: '10.0.0.1', port: 29500, rank: 3, size: 4 },
  })
  expect(() => launchOf(env)).toThrow(/MASTER_ADDR or MASTER_PORT is not set/)
  expect(launchOf({ RANK: '0', WORLD_SIZE: '1' })?.size).toBe(1)
})

it('srun without MPI: at the first of its machines, by a port of the job', () => {
  const env = {
    ...{ SLURM_PROCID: '3', SLURM_STEP_NUM_TASKS: '4', SLURM_LOCALID: '1', SLURM_STEP_TASKS_PER_NODE: '2(x2)' },
    ...{ SLURM_JOB_ID: '40123', SLURM_STEP_NODELIST: 'gpu[003-004,9],other' },
  }
  expect(launchOf(env)?.address).toEqual({ host: 'gpu003', port: 20_123, rank: 3, size: 4 })
  expect(launchOf({ ...env, SLURM_STEP_NODELIST: 'alone' })?.address?.host).toBe('alone')
})

it("a launcher's socket that npx did not hand on is told of, with what to do", () => {
  expect(() => checkLauncherSocket({ PMI_FD: '987' })).toThrow(/mpirun -pmi-port/)
  expect(() => checkLauncherSocket({})).not.toThrow()
})

it('a library that is named is the only one that is tried', () => {
  expect(mpiLibraries({ CONTINUAL_DIFFUSION_MPI: '/opt/mpi/libmpi_abi.so' })).toEqual(['/opt/mpi/libmpi_abi.so'])
  expect(mpiLibraries({ PATH: '/nowhere' })).toContain('libmpi_abi.so')
})

it('the threads of a machine are shared out, unless somebody did', () => {
  expect(threadsEach({ OMP_NUM_THREADS: '1' }, 2)).toBeUndefined()
  expect(threadsEach({}, 1)).toBeUndefined()
  expect(threadsEach({ SLURM_CPUS_PER_TASK: '3' }, 2)).toBe(3)
  expect(threadsEach({}, 10_000)).toBe(1)
})
