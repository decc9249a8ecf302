/** Student's t distribution, by the finite series for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4). */

/** The probability that |T| is at least |t|. */
export function twoSidedP(t: number, degrees: number): number {
  if (Number.isNaN(t)) return Number.NaN
  const angle = Math.atan(Math.abs(t) / Math.sqrt(degrees))
  const [sine, cosine] = [Math.sin(angle), Math.cos(angle)]
  const isOdd = degrees % 2 === 1
  let term = isOdd ? cosine : 1
  let sum = degrees === 1 ? 0 : term
  for (let k = isOdd ? 3 : 2; k < degrees; k += 2) {
    term *= ((k - 1) / k) * cosine * cosine
    sum += term
  }
  const within = isOdd ? (2 / Math.PI) * (angle + sine * sum) : sine * sum
  return Math.min(1, Math.max(0, 1 - within))
}

/** The 95 % confidence interval of a mean of n values, by its standard error. */
export function meanInterval(mean: number, error: number, n: number): readonly [low: number, high: number] {
  const half = error * studentT975(n - 1)
  return [mean - half, mean + half]
}

/** The value that |T| exceeds with the probability 0.05: the half-width of a 95 % interval in standard errors. */
export function studentT975(degrees: number): number {
  let [low, high] = [1.9, 13]
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2
    if (twoSidedP(middle, degrees) > 0.05) low = middle
    else high = middle
  }
  return (low + high) / 2
}
