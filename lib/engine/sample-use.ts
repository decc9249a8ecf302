/**
 * What images are generated for. Uses of one seed never draw the same noise: what a learner replays, for example, is none of
 * what it was evaluated on.
 */
export const sampleUses = { sampling: 0, evaluation: 1, replay: 2, grid: 3, pool: 4 } as const

/** A use, and the number of a part of it (0 … 2³² − 1), e.g. of a batch; each part has noise of its own. */
export interface SampleUse {
  readonly purpose: keyof typeof sampleUses
  readonly part: number
}
