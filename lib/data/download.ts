import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { ContinualDiffusionError, messageOf } from '../errors.js'
import { leftBeside, temporaryBeside } from '../files/atomic.js'
import { makeFolder } from '../files/make-folder.js'

/** A file to get. */
export interface DownloadOptions {
  /** Addresses of the file, tried in this order. */
  urls: readonly string[]
  /** Where it goes; its folder is made. */
  path: string
  /** SHA-256 of the unpacked file, in hexadecimal. */
  sha256: string
  /** Length of the unpacked file in bytes; of a file that isn't packed, the most that it may have. */
  bytes: number
  /** Whether the file is gzipped. Default true. One that isn't is resumed where it broke off, also by a later call. */
  packed?: boolean
  signal?: AbortSignal
  /** Told of each piece that arrives: packed bytes so far, and of all (0: the server doesn't say). */
  onProgress?: (done: number, total: number) => void
  /** How often an address is asked again when the server is busy or doesn't respond. Default 3. */
  retries?: number
}

/** gzip adds a header, a trailer and 5 bytes to each 64 KiB that it can't make smaller. */
const packingOverhead = 65_536

/**
 * Gets a file, checks the SHA-256 of what is in it, and only then puts it in its place: whatever goes wrong,
 * `path` is either whole or as it was.
 *
 * Busy servers (408, 413, 429, 5xx), and servers that don't respond, are asked again after a growing pause, or after the one that
 * they ask for; then comes the next address. A connection that breaks after the response has begun goes to the next one at once; for a
 * file that isn't packed, the same address is first asked for the rest.
 *
 * @throws ContinualDiffusionError `ERR_DOWNLOAD_FAILED` when no address gave the right file, `ERR_WRITE_FAILED` when it
 *   can't be written; the signal's reason when aborted
 */
export async function download(options: DownloadOptions): Promise<void> {
  const { path, urls, signal, packed = true } = options
  const temporary = temporaryBeside(path, 'part')
  const failures: { url: string; error: unknown }[] = []
  await writing(path, () => makeFolder(dirname(path)))
  for (const left of [...(await leftBeside(path, 'part')), leftOf(path)]) {
    // Whoever takes it first resumes it.
    await (packed ? rm(left, { force: true }) : rename(left, temporary)).catch(() => {})
  }
  try {
    await writing(path, async () => (await open(temporary, 'a')).close()) // before anything is asked for
    for (const url of urls) {
      const { address, headers } = withoutCredentials(url)
      try {
        if (packed) await fetchOnce(temporary, address, headers, options)
        else await fetchRest(temporary, address, headers, options)
      } catch (error) {
        signal?.throwIfAborted()
        if (error instanceof ContinualDiffusionError && error.code === 'ERR_WRITE_FAILED') throw error
        failures.push({ url: address, error })
        continue
      }
      await writing(path, () => rename(temporary, path))
      return
    }
  } finally {
    // What went wrong before is what matters, and not that this can't be kept or removed.
    if (!packed && (await lengthOf(temporary)) > 0) await rename(temporary, leftOf(path)).catch(() => {})
    await rm(temporary, { force: true }).catch(() => {})
  }
  throw new ContinualDiffusionError(
    'ERR_DOWNLOAD_FAILED',
    `${path}: can't be downloaded. Tried: ${failures.map(({ url, error }) => `${url} (${reason(error)})`).join('; ')}. ` +
      `Check the network, or put the file there yourself.${unusedProxy()}`,
    { cause: failures.at(-1)?.error },
  )
}

/** Where a download that broke off leaves what it has for the next one. */
function leftOf(path: string): string {
  return `${path}.part`
}

async function fetchOnce(
  temporary: string,
  url: string,
  headers: Readonly<Record<string, string>>,
  options: DownloadOptions,
): Promise<void> {
  const response = await ask(url, headers, options)
  if (response === undefined) throw new Error('status 416, though no range was asked for')
  await write(response, temporary, 0, options)
  await verify(temporary, options)
}

/**
 * Gets a file that isn't packed. What there is of it already is kept, and where the connection breaks, the rest is asked for: up to
 * `retries` times in a row with nothing new.
 */
async function fetchRest(
  temporary: string,
  url: string,
  headers: Readonly<Record<string, string>>,
  options: DownloadOptions,
): Promise<void> {
  const { signal, retries = 3 } = options
  let left = retries
  let beganAgain = false
  for (;;) {
    const from = await lengthOf(temporary)
    const response = await ask(url, from === 0 ? headers : { ...headers, range: `bytes=${from}-` }, options)
    try {
      if (response !== undefined) await write(response, temporary, from, options)
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof ContinualDiffusionError) throw error
      left = (await lengthOf(temporary)) > from ? retries : left - 1
      if (left < 0 || error instanceof RangeError) throw error
      continue
    }
    try {
      await verify(temporary, options, false)
      return
    } catch (error) {
      signal?.throwIfAborted()
      await rm(temporary, { force: true })
      // What was there before may be the beginning of another file; where it wasn't, the server has another file.
      if (from === 0 || beganAgain) throw error
      beganAgain = true
    }
  }
}

async function lengthOf(file: string): Promise<number> {
  return stat(file).then(
    ({ size }) => size,
    () => 0,
  )
}

/** Credentials go into a header, as fetch asks for, and so into no message. */
function withoutCredentials(url: string): { address: string; headers: Readonly<Record<string, string>> } {
  if (!URL.canParse(url)) return { address: url, headers: {} }
  const parsed = new URL(url)
  const { username, password } = parsed
  if (username === '' && password === '') return { address: url, headers: {} }
  Object.assign(parsed, { username: '', password: '' })
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return {
    address: parsed.href,
    headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` },
  }
}

/** @returns undefined where the server says that what is asked for lies behind the file's end */
async function ask(
  url: string,
  headers: Readonly<Record<string, string>>,
  { signal, retries = 3 }: DownloadOptions,
): Promise<Response | undefined> {
  const { default: ky, HTTPError } = await import('ky') // it touches WebAssembly
  try {
    return await ky(url, {
      signal,
      retry: { limit: retries, backoffLimit: 10_000 },
      // Until the server responds; a stalled body is ended by fetch itself.
      timeout: 30_000,
      // Some servers would else pack the packed file once more.
      headers: { ...headers, 'accept-encoding': 'identity' },
    })
  } catch (error) {
    if (error instanceof HTTPError && error.response.status === 416) return undefined
    throw error
  }
}

/** @param from length of what the file has already, which is written over unless the response is the rest of it */
async function write(response: Response, temporary: string, from: number, options: DownloadOptions): Promise<void> {
  const { path, bytes, packed = true, onProgress } = options
  if (response.body === null) throw new Error('a response without a body')
  const isRest = response.status === 206
  const file = await writing(path, () => open(temporary, isRest ? 'a' : 'w'))
  try {
    let done = isRest ? from : 0
    const total = done + Number(response.headers.get('content-length') ?? Number.NaN) || 0
    const most = packed ? bytes + packingOverhead : bytes
    for await (const chunk of response.body) {
      done += chunk.length
      if (done > most) throw new RangeError(`more than the ${most} bytes that it can have`)
      await writing(path, () => file.writeFile(chunk))
      onProgress?.(done, total)
    }
  } finally {
    await file.close()
  }
}

/**
 * Checks a file, gzipped or not, by the length and the SHA-256 of what is in it.
 *
 * @throws Error that says what is wrong; the signal's reason when aborted
 */
export async function verify(
  path: string,
  { sha256, bytes, signal }: Pick<DownloadOptions, 'sha256' | 'bytes' | 'signal'>,
  packed = true,
): Promise<void> {
  const hash = createHash('sha256')
  let length = 0
  const sum = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      length += chunk.length
      hash.update(chunk)
      next(length > bytes ? new Error(`it unpacks to more than the ${bytes} bytes expected`) : null)
    },
  })
  sum.resume()
  const file = createReadStream(path)
  await (packed ? pipeline(file, createGunzip(), sum, { signal }) : pipeline(file, sum, { signal }))
  const found = hash.digest('hex')
  if (found !== sha256) {
    const what = packed ? `the unpacked ${length} bytes` : `its ${length} bytes`
    throw new Error(`the SHA-256 of ${what} is ${found}, expected ${sha256}${packed ? ` of ${bytes} bytes` : ''}`)
  }
}

async function writing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    throw writeFailed(path, cause)
  }
}

function writeFailed(path: string, cause: unknown): ContinualDiffusionError {
  return new ContinualDiffusionError(
    'ERR_WRITE_FAILED',
    `${path}: can't be written (${reason(cause)}); name a folder that can be written to, with enough room`,
    { cause },
  )
}

/** What to say of a proxy in the environment: Node's fetch uses it when told to, from Node 22.21 and 24.0 on. */
export function unusedProxy(env = process.env, node = process.versions.node): string {
  const name = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'].find((key) => env[key])
  const [major = 0, minor = 0] = node.split('.').map(Number)
  const knows = major >= 24 || (major === 22 && minor >= 21)
  if (name === undefined || (knows && env.NODE_USE_ENV_PROXY === '1')) return ''
  const how = knows ? 'set NODE_USE_ENV_PROXY=1 too' : 'take Node 22.21, 24 or later, and set NODE_USE_ENV_PROXY=1 too'
  return ` ${name} is set but not used: ${how}.`
}

/** An error's message with that of what caused it: fetch hides the useful half there. */
function reason(error: unknown): string {
  const { cause } = (error ?? {}) as { cause?: unknown }
  return cause === undefined ? messageOf(error) : `${messageOf(error)}: ${messageOf(cause)}`
}
