import { checksumOfContents } from '../../lib/experiment/checkpoint.js'
import { madeUpResults } from './results.js'

/** A run's checkpoint in the middle of a task, whose learner has one small file, as `checkpoint.json` holds it but for its checksum. */
export function madeUpCheckpoint(learner: { file: string; bytes: number; sha256: string }): Record<string, unknown> {
  const { versions, device, precision, parameters, runs } = madeUpResults()
  const losses = { step: 3, total: 0.6, counted: 1, loss: 0.2, terms: [0.2], penalties: { ewc: 0.1 }, gradNorm: 1 }
  return {
    format: 1,
    versions,
    config: { methods: [{ name: 'finetune', label: 'finetune' }], seeds: [42] },
    inputs: { data: '0'.repeat(64) },
    machine: { device, precision, parameters },
    runs,
    task: { number: 3, solver: [0.5, 0.5, 1], milliseconds: 12.5, losses },
    learner: 'checkpoints/1/learner',
    files: { [learner.file]: { bytes: learner.bytes, sha256: learner.sha256 } },
  }
}

/** A checkpoint with its checksum. */
export function sealed(contents: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { checksum: _, ...whole } = contents
  return { ...whole, checksum: checksumOfContents(whole) }
}
