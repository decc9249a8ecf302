import { fileURLToPath } from 'node:url'
import { beforeAll, expect, it } from 'vitest'
import { mpirun, runGroup } from './support/mpi.js'
import { compile } from './support/processes.js'

const program = fileURLToPath(new URL('support/fault-program.mjs', import.meta.url))

beforeAll(async () => {
  await compile()
  await mpirun()
}, 300_000)

/** What each of two processes said. */
function saidBy(stdout: string): readonly (readonly string[])[] {
  const lines = stdout.trim().split('\n')
  return [0, 1].map((rank) => lines.filter((line) => line.startsWith(`${rank}: `)).map((line) => line.slice(3)))
}

it('other data, other settings, two learners at once and an abort are told to all, before a step is taken or after the same step', async () => {
  const { code, stdout, stderr } = await runGroup(2, [program, 'survived'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const [first, second] = saidBy(stdout)
  const differ = (what: string, task = 1) =>
    new RegExp(`^ERR_GROUP learn, task ${task} by finetune: rank 1 and rank 0 differ in: ${what};`)
  for (const said of [first!, second!]) {
    expect(said[0]).toMatch(differ('images'))
    expect(said[1]).toMatch(differ('method and settings'))
    expect(said[2]).toMatch(differ('weights'))
    expect(said[3]).toMatch(/^ERR_INVALID_ARGUMENT learn, task 1 by finetune: the group is at work for another learner/)
    expect(said[5]).toBe('same step true, whole true')
  }
  expect(first![4]).toBe('ERR_GROUP rank 1 was stopped, so that no step can be taken')
  expect(second![4]).toBe('enough')
}, 60_000)

it.each([
  ['throws', /rank 1 (was stopped|failed)/],
  ['ends', /rank 1 has ended/],
])(
  'where one process %s, the others end with an error that names it',
  async (fault, message) => {
    const { code, stderr } = await runGroup(2, [program, fault])
    expect(code).not.toBe(0)
    expect(stderr).toMatch(message)
  },
  60_000,
)

it('where one process is killed, and its launcher does not notice, the other ends', async () => {
  const killed = async (rank: number) => {
    const { code, stderr } = await runGroup(2, [program, 'killed', String(rank)], { shell: '"$@"; sleep 20' })
    expect(code).not.toBe(0)
    expect(stderr).toContain(`rank ${rank} was killed, or its machine failed`)
  }
  await Promise.all([killed(0), killed(1)])
}, 60_000)

it('without a library of the standard ABI the error says how to get one', async () => {
  const missing = await runGroup(2, [program, 'none'], { env: { CONTINUAL_DIFFUSION_MPI: '/nowhere/libmpi_abi.so' } })
  expect(missing.code).not.toBe(0)
  expect(missing.stderr).toMatch(/ERR_GROUP/)
  expect(missing.stderr).toMatch(/no library of MPI 5's standard ABI:\s+MPI can't be loaded: \/nowhere\/libmpi_abi\.so/)
  const other = await runGroup(2, [program, 'none'], { env: { CONTINUAL_DIFFUSION_MPI: 'libm.so.6' } })
  expect(other.stderr).toMatch(/libm\.so\.6 has no MPI_Abi_get_version, so it is not a library of MPI 5's standard ABI/)
}, 60_000)
