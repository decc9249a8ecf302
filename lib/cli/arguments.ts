import { InvalidArgumentError } from 'commander'

/** Reads a whole number ≥ `least` from the command line. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!Number.isSafeInteger(value) || value < least || text.trim() === '') {
      throw new InvalidArgumentError(`Expected a whole number, at least ${least}.`)
    }
    return value
  }
}

/** As {@link wholeNumber}, for an option that takes several. */
export function wholeNumbers(least: number): (text: string, before: number[] | undefined) => number[] {
  const one = wholeNumber(least)
  return (text, before = []) => [...before, one(text)]
}

export function positiveNumber(text: string): number {
  const value = Number(text)
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError('Expected a number above 0.')
  return value
}

export function atLeastZero(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0 && Number.isFinite(value))) {
    throw new InvalidArgumentError('Expected a number, at least 0.')
  }
  return value
}

/** Reads a TCP port, 0 … 65535; 0: any that is free. */
export function port(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isInteger(value) || value < 0 || value > 65_535) {
    throw new InvalidArgumentError('Expected a port, 0 to 65535.')
  }
  return value
}

/** Reads e.g. `3/10`. */
export function partOf(text: string): { number: number; of: number } {
  const [, number, of] = (/^(\d{1,6})\/(\d{1,6})$/.exec(text) ?? []).map(Number)
  if (number === undefined || of === undefined || number < 1 || number > of) {
    throw new InvalidArgumentError('Expected two numbers, e.g. 3/10: the third of ten parts.')
  }
  return { number, of }
}
