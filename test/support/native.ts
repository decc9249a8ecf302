import { paperSchedule, type ScheduleConfig } from '../../lib/config/schedule.js'
import type { UNetConfig } from '../../lib/config/unet.js'
import type { NativeDraws, NativeLearner, NativeSession, NativeTrainReport } from '../../lib/engine/native-learner.js'
import type { NativePool } from '../../lib/engine/native-values.js'
import { createNative } from '../../lib/learner/core.js'
import { planTimesteps } from '../../lib/learner/timesteps.js'
import type { Objective, ResolvedObjective } from '../../lib/methods/objective.js'
import { parseObjective } from '../../lib/methods/objective-schema.js'
import type { TestDevice } from './devices.js'

export const never = new Int32Array(1)

/** The optimiser of the tests that need just one. */
export const optimizer = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0, clipGradNorm: 1 } as const

/** A native learner in fp32 without a moving average. */
export function fp32Learner(
  unet: UNetConfig,
  device: TestDevice,
  { seed = 0, schedule = {} }: { seed?: number; schedule?: Partial<ScheduleConfig> } = {},
): Promise<NativeLearner> {
  return createNative({ unet, schedule: { ...paperSchedule, ...schedule }, device, precision: 'fp32', ema: 0 }, seed)
}

/** An objective as the engine takes it. */
export function resolve(objective: Objective): ResolvedObjective {
  return parseObjective(objective, paperSchedule.timesteps, 'test')
}

/** What a step draws from. */
export interface Batches {
  readonly task: NativePool
  readonly memory: NativePool
  readonly batchSize: number
  readonly horizontalFlip: boolean
}

/** Does something in a session of its own. */
export async function inSession<T>(
  native: NativeLearner,
  objective: Objective,
  batches: Batches,
  work: (session: NativeSession) => Promise<T>,
): Promise<T> {
  const resolved = resolve(objective)
  const timesteps = planTimesteps(resolved, paperSchedule, 'test')
  const session = await native.beginSession({ ...batches, objective: resolved, timesteps, optimizer })
  try {
    return await work(session)
  } finally {
    session.dispose()
  }
}

/** So many steps, however long they take. */
export function train(
  native: NativeLearner,
  objective: Objective,
  batches: Batches,
  steps: number,
): Promise<NativeTrainReport> {
  return inSession(native, objective, batches, (session) => session.run({ steps, milliseconds: 1e9 }, never))
}

/** The draws of the next step. */
export function drawNext(native: NativeLearner, objective: Objective, batches: Batches): Promise<NativeDraws[]> {
  return inSession(native, objective, batches, (session) => session.draw())
}
