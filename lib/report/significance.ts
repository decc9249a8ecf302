import { twoSidedP } from './student-t.js'

/** Up to this p, a difference is called one. */
export const alpha = 0.05

/** Most pairs for which all signs are tried: about a million sums. */
const mostFlipped = 20

/**
 * The exact sign-flip permutation test of whether the mean of paired differences is 0 (Fisher 1935): the share of all 2ⁿ choices of signs that give
 * a mean at least as far from 0, two-sided. Nothing is assumed but that a difference is as likely with either sign.
 *
 * @returns the p-value, or undefined for more than 20 differences: their 2ⁿ choices of signs are too many to go through
 */
export function signFlipP(differences: readonly number[]): number | undefined {
  const n = differences.length
  if (n === 0 || n > mostFlipped) return undefined
  const observed = Math.abs(differences.reduce((sum, value) => sum + value, 0))
  // Sums that differ by rounding alone count as equal.
  const slack = 1e-9 * differences.reduce((sum, value) => sum + Math.abs(value), 0)
  const signs = new Int8Array(n).fill(1)
  let sum = differences.reduce((all, value) => all + value, 0)
  let extreme = 0
  const choices = 2 ** n
  for (let i = 1; i <= choices; i++) {
    if (Math.abs(sum) >= observed - slack) extreme++
    if (i === choices) break
    // From one choice to the next in Gray's order, one sign changes.
    const at = 31 - Math.clz32(i & -i)
    signs[at]! *= -1
    sum += 2 * signs[at]! * differences[at]!
  }
  return extreme / choices
}

/** The paired t test: two-sided p of the mean of the differences, given its standard error. */
export function pairedTP(mean: number, error: number, pairs: number): number {
  // All differences the same: surely not 0, or surely 0.
  if (error === 0) return mean === 0 ? 1 : 0
  return twoSidedP(mean / error, pairs - 1)
}

/**
 * Holm's correction for several tests (Holm 1979): the adjusted p of each. All those of at most α may be called significant: the probability
 * that any one of them is so by chance is at most α.
 */
export function holm(ps: readonly number[]): number[] {
  const order = [...ps.keys()].sort((a, b) => ps[a]! - ps[b]!)
  const adjusted = new Array<number>(ps.length)
  let most = 0
  for (const [rank, i] of order.entries()) {
    most = Math.max(most, Math.min(1, (ps.length - rank) * ps[i]!))
    adjusted[i] = most
  }
  return adjusted
}
