import { mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { registerData } from '../lib/cli/data.js'
import { cachePath, locate } from '../lib/data/index.js'

const shipped = new URL('../data/fashion-mnist-subset/', import.meta.url)

let folder: string
let output: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cli-data-'))
  vi.stubEnv('XDG_CACHE_HOME', folder)
  output = ''
  vi.spyOn(console, 'log').mockImplementation((line) => {
    output += `${line}\n`
  })
  vi.spyOn(console, 'error').mockImplementation(() => {})
})
afterEach(async () => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
  await rm(folder, { recursive: true })
})

function run(...words: string[]) {
  const program = new Command().exitOverride()
  registerData(program)
  return program.parseAsync(['data', ...words], { from: 'user' })
}

describe('data', () => {
  it('lists every known data set and what was found in a given folder', async () => {
    await run('--folder', join(folder, 'nowhere'))
    expect(output).toMatch(/^Fashion-MNIST \(fashion-mnist\): 60000 \+ 10000 images, 10 classes, MIT/)
    expect(output).toMatch(/\nMNIST \(mnist\): 60000/)
    expect(output).toContain(`folder: not in ${join(folder, 'nowhere')}`)
    expect(output).toContain('part in this package: 5000 + 1000 images')
    expect(output).toMatch(/to download it: .+ data get mnist$/m)
  })
})

const system = (await locate('fashion-mnist')).find(({ kind }) => kind === 'system')

// Other systems have no variable that moves the user's cache.
describe.runIf(process.platform === 'linux')('data get', () => {
  it.skipIf(!system?.found)('does nothing when the cache has all files', async () => {
    const cache = cachePath('fashion-mnist') as string
    expect(cache.startsWith(folder)).toBe(true)
    await mkdir(cache, { recursive: true })
    for (const file of await readdir(system?.path as string)) {
      await symlink(join(system?.path as string, file), join(cache, file))
    }
    await run('get', 'fashion-mnist', '--url', 'http://127.0.0.1:9/nowhere')
    expect(output).toBe(`Fashion-MNIST is in ${cache}\n`)
    output = ''
    await run()
    expect(output).toContain(`cache: 60000 + 10000 images in ${cache}`)
  })

  it('gets files from a given address and refuses wrong ones', async () => {
    const asked: string[] = []
    const body = await readFile(new URL('train-images-idx3-ubyte.gz', shipped))
    const server = createServer((request, response) => {
      asked.push(request.url as string)
      response.end(body)
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/there/`
    try {
      await expect(run('get', 'mnist', '--url', url)).rejects.toThrow(
        expect.objectContaining({ code: 'ERR_DOWNLOAD_FAILED', message: expect.stringContaining('SHA-256') }),
      )
      expect(asked).toEqual(['/there/train-images-idx3-ubyte.gz'])
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })

  it('names the nearest data set', async () => {
    await expect(run('get', 'minst')).rejects.toThrow(/did you mean 'mnist'/)
  })
})
