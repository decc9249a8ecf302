import { resolveDevice } from '../engine/device.js'
import type { Group } from '../engine/group.js'
import type { Device } from '../validation/fields.js'
import type { ExperimentConfig } from './config.js'

/** Where a process computes. */
export type Placed = Pick<ExperimentConfig, 'device' | 'threads'>

/** A configuration for one of a group's processes: with the GPU and the threads that suit it, where the configuration doesn't name them. */
export async function placed<C extends Placed & Pick<ExperimentConfig, 'precision'>>(
  config: C,
  group: Group | undefined,
): Promise<C> {
  if (group === undefined) return config
  const { device } = await resolveDevice(config.device, config.precision, group.localRank)
  return { ...config, device: device as Device, threads: config.threads ?? group.threads }
}
