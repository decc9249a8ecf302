import path from 'node:path'
import { InvalidArgumentError } from 'commander'
import { ContinualDiffusionError } from '../errors.js'

/** Reads a whole number, `least` to `most`, from the command line. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!Number.isSafeInteger(value) || value < least || value > most || text.trim() === '') {
      const range = most === Number.MAX_SAFE_INTEGER ? `at least ${least}` : `${least} to ${most}`
      throw new InvalidArgumentError(`Expected a whole number, ${range}.`)
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

/** Reads the side of square images, or e.g. `24x32`, height and width. */
export function imageSize(text: string): number | [height: number, width: number] {
  const [height, width] = (/^(\d{1,4})(?:x(\d{1,4}))?$/.exec(text) ?? []).slice(1).map((side) => side && Number(side))
  if (!height || width === 0) {
    throw new InvalidArgumentError('Expected the side of squares in pixels, e.g. 32, or height and width, e.g. 24x32.')
  }
  return width ? [height, width] : height
}

/** Reads e.g. `3/10`. */
export function partOf(text: string): { number: number; of: number } {
  const [, number, of] = (/^(\d{1,6})\/(\d{1,6})$/.exec(text) ?? []).map(Number)
  if (number === undefined || of === undefined || number < 1 || number > of) {
    throw new InvalidArgumentError('Expected two numbers, e.g. 3/10: the third of ten parts.')
  }
  return { number, of }
}

/** The name of a PNG file; what is no file, such as /dev/stdout, has no end. */
export function pngFile(text: string): string {
  if (text === '' || !/^$|^\.png$/i.test(path.extname(text))) {
    throw new InvalidArgumentError('Expected the name of a PNG file, which ends in .png.')
  }
  return text
}

/** An error that is due to what an experiment file says, and not to what was typed: a command exits with 1. */
export class WrongFile extends Error {
  override readonly name = 'WrongFile'
  override readonly cause: ContinualDiffusionError

  constructor(cause: ContinualDiffusionError) {
    super(cause.message)
    this.cause = cause
  }
}

/** A wrong argument as one of a file; any other error as it is. */
export function ofFile(error: unknown): unknown {
  return error instanceof ContinualDiffusionError && error.code === 'ERR_INVALID_ARGUMENT'
    ? new WrongFile(error)
    : error
}

/**
 * What went wrong with what was typed: the library's messages, with the option in place of the key that the library has for it.
 *
 * @param keys the option as typed, by the way to the key in messages
 */
export function asTyped(error: unknown, keys: Readonly<Record<string, string>>): unknown {
  if (!(error instanceof ContinualDiffusionError)) return error
  const message = Object.entries(keys).reduce((text, [key, option]) => {
    const named = new RegExp(`(?<![\\w.'/-])${key.replaceAll('.', '\\.')}(?:\\[\\d+\\])?(?= is |: )`, 'g')
    // What is typed needs no mention in brackets.
    return named.test(text) ? text.replaceAll(named, option).replaceAll(` (${option})`, '') : text
  }, error.message)
  return message === error.message ? error : new ContinualDiffusionError(error.code, message, { cause: error })
}
