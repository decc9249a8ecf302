// Options of the benchmarks.

/** A whole number from 1. @param {string} option as it is typed @param {string} value @returns {number} */
export function countOf(option, value) {
  if (!/^[1-9]\d*$/.test(value)) throw new Error(`${option} is ${value}; expected a whole number from 1`)
  return Number(value)
}
