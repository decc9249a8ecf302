import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { call } from '../engine/call.js'
import type { Versions } from '../report/results.js'
import { counted } from '../validation/names.js'

/**
 * What computes in this process.
 *
 * @param threads of the CPU; default: libtorch's
 */
export function versions(threads?: number): Versions {
  const { libtorchVersion, cudaVersion, cpu } = call((addon) => ({
    libtorchVersion: addon.libtorchVersion,
    cudaVersion: addon.cudaVersion,
    cpu: addon.cpu(),
  }))
  const count = threads ?? cpu.threads
  const model = cpus()[0]?.model.trim() ?? process.arch
  return {
    package: packageVersion(),
    libtorch: libtorchVersion,
    cuda: cudaVersion,
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    cpu: `${model}, ${cpu.capability}${cpu.amx ? ' with AMX' : ''}, ${counted(count, 'thread')}`,
  }
}

/** The version in this package's package.json. */
export function packageVersion(): string {
  // The same relative path from lib/experiment and from dist/experiment.
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
