import { createHash } from 'node:crypto'
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { download, unusedProxy } from '../lib/data/download.js'
import { asNobody } from './support/folders.js'

// Hashes, so that it can't be packed much.
const unpacked = Buffer.concat(
  Array.from({ length: 1600 }, (_, i) => createHash('sha256').update(String(i)).digest()),
).subarray(0, 50_000)
const packed = gzipSync(unpacked)
const sha256 = createHash('sha256').update(unpacked).digest('hex')

let folder: string
let server: Server
let base: string
let asked: string[]
/** What the server does, by path. */
let answers: Record<string, (response: ServerResponse) => void>

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'download-'))
  asked = []
  answers = { '/good': (response) => response.end(packed) }
  server = createServer((request, response) => {
    asked.push(request.url ?? '')
    const answer = answers[request.url ?? '']
    if (answer) answer(response)
    else response.writeHead(404).end()
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((done) => server.close(done))
  await rm(folder, { recursive: true, force: true })
})

const get = (paths: string[], more: object = {}) =>
  download({
    urls: paths.map((path) => `${base}${path}`),
    path: join(folder, 'inner', 'file.gz'),
    sha256,
    bytes: unpacked.length,
    ...more,
  })
const left = () => readdir(join(folder, 'inner'))
const failed = (message: RegExp) =>
  expect.objectContaining({ code: 'ERR_DOWNLOAD_FAILED', message: expect.stringMatching(message) })

describe('download', () => {
  it('puts the whole file in its place and tells its progress', async () => {
    answers['/sized'] = (response) => response.writeHead(200, { 'content-length': packed.length }).end(packed)
    const progress: [number, number][] = []
    await get(['/sized'], { onProgress: (...p: [number, number]) => progress.push(p) })
    expect(await readFile(join(folder, 'inner', 'file.gz'))).toEqual(packed)
    expect(await left()).toEqual(['file.gz'])
    expect(progress.at(-1)).toEqual([packed.length, packed.length])
  })

  it('refuses other contents and leaves nothing', async () => {
    answers['/other'] = (response) => response.end(gzipSync(Buffer.alloc(unpacked.length)))
    await expect(get(['/other'])).rejects.toThrow(failed(new RegExp(`is [0-9a-f]{64}, expected ${sha256}`)))
    expect(await left()).toEqual([])
  })

  it('keeps the file that was there before', async () => {
    answers['/other'] = (response) => response.end(gzipSync(Buffer.from('other')))
    await get(['/good'])
    await expect(get(['/other'])).rejects.toThrow(failed(/SHA-256/))
    expect(await readFile(join(folder, 'inner', 'file.gz'))).toEqual(packed)
    expect(await left()).toEqual(['file.gz'])
  })

  it.each([
    [
      'a body cut off by the connection',
      (response: ServerResponse) => {
        response.writeHead(200, { 'content-length': packed.length })
        response.write(packed.subarray(0, 1000), () => response.destroy())
      },
      /terminated|aborted|closed/,
    ],
    [
      'a body that is cut off but says that it is whole',
      (r: ServerResponse) => r.end(packed.subarray(0, 1000)),
      /end of file/,
    ],
    ['a page in place of the file', (r: ServerResponse) => r.end('<html>sign in</html>'), /incorrect header check/],
    ['more than can be right', (r: ServerResponse) => r.end(Buffer.alloc(200_000, 'x')), /more than the 115536 bytes/],
    [
      'a gzip bomb',
      (r: ServerResponse) => r.end(gzipSync(Buffer.alloc(2 ** 24))),
      /unpacks to more than the 50000 bytes/,
    ],
    ['no such file', (r: ServerResponse) => r.writeHead(404).end(), /404 Not Found/],
  ])('refuses %s, leaves nothing, and goes on to the next address', async (_, answer, message) => {
    answers['/bad'] = answer
    await expect(get(['/bad'])).rejects.toThrow(failed(message))
    expect(await left()).toEqual([])
    await get(['/bad', '/good'])
    expect(await left()).toEqual(['file.gz'])
  })

  it('asks a busy server again', async () => {
    answers['/busy'] = (response) => {
      if (asked.length < 3) response.writeHead(503, { 'retry-after': '0' }).end()
      else response.end(packed)
    }
    await get(['/busy'])
    expect(asked).toEqual(['/busy', '/busy', '/busy'])
    expect(await left()).toEqual(['file.gz'])
  })

  it('sends the credentials of an address, and puts them into no message', async () => {
    const sent: (string | undefined)[] = []
    server.on('request', ({ headers }) => sent.push(headers.authorization))
    const withCredentials = base.replace('//', '//user:s%3Acret@')
    await get([], { urls: [`${withCredentials}/good`] })
    expect(sent).toEqual([`Basic ${Buffer.from('user:s:cret').toString('base64')}`])
    const error = await get([], { urls: [`${withCredentials}/none`], retries: 0 }).catch((error: Error) => error)
    expect((error as Error).message).toContain(`${base}/none`)
    expect((error as Error).message).not.toMatch(/cret|user/)
  })

  it('gives up on a server that stays busy, naming every address', async () => {
    answers['/busy'] = (response) => response.writeHead(503, { 'retry-after': '0' }).end()
    await expect(get(['/busy', '/none'], { retries: 1 })).rejects.toThrow(failed(/busy \(.*503.*\); .*none \(.*404/))
    expect(asked).toEqual(['/busy', '/busy', '/none'])
  })

  it('says that no server is there', async () => {
    const nowhere = download({ urls: ['http://127.0.0.1:9/x'], path: join(folder, 'x'), sha256, bytes: 1, retries: 0 })
    await expect(nowhere).rejects.toThrow(failed(/fetch failed: .+/))
  })

  it('ends at once when aborted in mid-body, with the reason, and leaves nothing', async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    answers['/slow'] = (response) => {
      response.writeHead(200, { 'content-length': packed.length })
      response.write(packed.subarray(0, 1000))
    }
    const onProgress = () => controller.abort(reason)
    await expect(get(['/slow', '/good'], { signal: controller.signal, onProgress })).rejects.toBe(reason)
    expect(await left()).toEqual([])
    expect(asked).toEqual(['/slow'])
  })

  it('says where it cannot write', async () => {
    await writeFile(join(folder, 'inner'), 'a file where a folder should be')
    await expect(get(['/good'])).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_WRITE_FAILED', message: expect.stringContaining('file.gz') }),
    )
  })

  it('says that the file cannot be made', async () => {
    const path = join(folder, 'x'.repeat(240))
    await expect(get(['/good', '/good'], { path })).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_WRITE_FAILED', message: expect.stringMatching(/xxx: .*ENAMETOOLONG/) }),
    )
    expect(asked).toEqual([])
  })

  it('says that a folder is read-only', async () => {
    await chmod(folder, 0o500)
    await expect(asNobody(() => get(['/good']))).rejects.toThrow(expect.objectContaining({ code: 'ERR_WRITE_FAILED' }))
    await chmod(folder, 0o700)
  })

  it('lets two downloads of the same file run at once', async () => {
    await Promise.all([get(['/good']), get(['/good'])])
    expect(await left()).toEqual(['file.gz'])
  })
})

// https://nodejs.org/docs/latest/api/cli.html#node_use_env_proxy1: since v24.0.0 and v22.21.0.
it.each([
  [{}, '20.19.0', /^$/],
  [{ HTTPS_PROXY: 'http://user:word@proxy' }, '20.19.0', /^ HTTPS_PROXY is set but not used: take Node 22\.21, 24/],
  [{ http_proxy: 'http://proxy', NODE_USE_ENV_PROXY: '1' }, '22.20.0', /^ http_proxy is set but not used: take Node/],
  [{ HTTPS_PROXY: 'http://proxy' }, '22.21.0', /not used: set NODE_USE_ENV_PROXY=1 too\.$/],
  [{ HTTPS_PROXY: 'http://proxy', NODE_USE_ENV_PROXY: '1' }, '24.0.0', /^$/],
])('with the environment %o a failed download on Node %s says of the proxy what is so', (env, node, message) => {
  expect(unusedProxy(env, node)).toMatch(message)
  expect(unusedProxy(env, node)).not.toContain('word')
})
