import { execFileSync } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { describeSource } from '../lib/cli/data.js'
import { fashionMnist, getKnown, knownSource, knownSources, locate, mnist, parseIdx } from '../lib/data/index.js'

const shipped = new URL('../data/fashion-mnist-subset/', import.meta.url)
const names = (await readdir(shipped)).filter((file) => file.endsWith('.gz'))

let folder: string
let server: Server | undefined
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'known-'))
})
afterEach(async () => {
  server?.closeAllConnections()
  server?.close()
  server = undefined
  delete process.env.CONTINUAL_DIFFUSION_DATA_URL
  await rm(folder, { recursive: true })
})

/** Copies the shipped part, so that a folder holds a small data set under the right names. */
async function fill(path: string, files = names) {
  await mkdir(path, { recursive: true })
  for (const file of files) await copyFile(new URL(file, shipped), join(path, file))
  return path
}

/** Places that are not this machine's own. */
const elsewhere = () => ({ systemFolder: join(folder, 'system'), cacheFolder: join(folder, 'cache') })

/** What is warned of from now on. */
function listen(): () => string {
  const messages: string[] = []
  const listener = ({ message }: Error) => void messages.push(message)
  process.on('warning', listener)
  onTestFinished(() => void process.off('warning', listener))
  return () => messages.join('\n')
}

async function serve(files: Record<string, Uint8Array>) {
  const asked: string[] = []
  server = createServer((request, response) => {
    asked.push(request.url as string)
    const body = files[request.url as string]
    if (body) response.end(body)
    else response.writeHead(404).end()
  })
  await new Promise<void>((done) => server?.listen(0, '127.0.0.1', done))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

describe('knownSources', () => {
  it('has files whose lengths are those of the images that it says there are', () => {
    for (const { files, counts } of Object.values(knownSources)) {
      for (const part of ['train', 'test'] as const) {
        expect(files[part].images.bytes).toBe(16 + counts[part] * 28 * 28)
        expect(files[part].labels.bytes).toBe(8 + counts[part])
      }
    }
  })

  it('names the nearest known one', () => {
    expect(() => knownSource('fashion-minst')).toThrow(
      /unknown data set 'fashion-minst' \(did you mean 'fashion-mnist'\?\)/,
    )
    expect(() => knownSource('toString')).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }))
  })
})

describe('locate', () => {
  it('finds each place by itself, packed or not', async () => {
    await fill(join(folder, 'system', 'fashion-mnist'))
    await fill(join(folder, 'cache', 'fashion-mnist'), names.slice(0, 3))
    const mine = await fill(join(folder, 'mine'), names.slice(1))
    const first = names[0] as string
    await writeFile(join(mine, first.replace('.gz', '')), gunzipSync(await readFile(new URL(first, shipped))))
    const places = await locate('fashion-mnist', { folder: mine, ...elsewhere() })
    expect(places.map(({ kind, found, missing }) => [kind, found, missing])).toEqual([
      ['folder', true, []],
      ['system', true, []],
      ['cache', false, names.slice(3)],
      ['subset', true, []],
    ])
    expect((await locate('mnist', elsewhere())).map(({ kind, found }) => [kind, found])).toEqual([
      ['system', false],
      ['cache', false],
    ])
  })
})

describe('fashionMnist', () => {
  it('takes a given folder as it is', async () => {
    const mine = await fill(join(folder, 'mine'))
    const data = await fashionMnist({ folder: mine, ...elsewhere(), size: 16 })
    expect(data.train).toMatchObject({ name: 'fashion-mnist/train', size: 16, height: 28, width: 28, channels: 1 })
    expect(data.train.labels).toHaveLength(5000)
    expect(data.train.classes[9]).toBe('Ankle boot')
  })

  it.each(['system', 'cache'])(
    'does not take what lies in the %s folder for what was published',
    async (place) => {
      const at = await fill(join(folder, place, 'fashion-mnist'))
      const warnings = listen()
      const nowhere = { ...elsewhere(), url: 'http://127.0.0.1:9' }
      await expect(fashionMnist(nowhere)).rejects.toMatchObject({ code: 'ERR_DOWNLOAD_FAILED' })
      await vi.waitFor(() => expect(warnings()).toContain(`${at} is not used`))
    },
    60_000,
  )

  it('does not look elsewhere when the given folder lacks files', async () => {
    const mine = await fill(join(folder, 'mine'), names.slice(2))
    await expect(fashionMnist({ folder: mine })).rejects.toThrow(
      expect.objectContaining({
        code: 'ERR_DATA_NOT_FOUND',
        message: expect.stringContaining(
          `${mine}: fashion-mnist is not there, or not whole; missing: ${names[0]}, ${names[1]} (`,
        ),
      }),
    )
  })

  it('refuses wrong options', async () => {
    await expect(fashionMnist({ subsett: true } as object)).rejects.toThrow(/fashionMnist: .*did you mean 'subset'/)
    await expect(fashionMnist({ size: 0 })).rejects.toThrow(/size is 0/)
    await expect(fashionMnist({ subset: true, folder })).rejects.toThrow(/both folder .* and subset/)
    await expect(mnist({ subset: true } as object)).rejects.toThrow(/mnist: unknown option 'subset'/)
  })

  it('does not keep a download whose contents are not those published', async () => {
    const { url } = await serve(
      Object.fromEntries(
        await Promise.all(names.map(async (file) => [`/${file}`, await readFile(new URL(file, shipped))] as const)),
      ),
    )
    await expect(fashionMnist({ ...elsewhere(), url })).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_DOWNLOAD_FAILED', message: expect.stringContaining('SHA-256') }),
    )
    expect(await readdir(join(folder, 'cache', 'fashion-mnist'))).toEqual([])
  })
})

const system = (await locate('fashion-mnist')).find(({ kind }) => kind === 'system')

describe.skipIf(!system?.found)('with the whole of Fashion-MNIST on this machine', () => {
  const files = async () =>
    Object.fromEntries(
      await Promise.all(
        names.map(
          async (file) => [`/fashion-mnist/${file}`, await readFile(join(system?.path as string, file))] as const,
        ),
      ),
    )

  it('downloads it from the address in the environment, once', async () => {
    const { url, asked } = await serve(await files())
    process.env.CONTINUAL_DIFFUSION_DATA_URL = `${url}/`
    const { train, test } = await fashionMnist(elsewhere())
    expect([train.labels.length, test.labels.length]).toEqual([60_000, 10_000])
    expect(asked.sort()).toEqual(names.map((file) => `/fashion-mnist/${file}`).sort())
    expect((await readdir(join(folder, 'cache', 'fashion-mnist'))).sort()).toEqual([...names].sort())
    await fashionMnist(elsewhere())
    expect(asked).toHaveLength(4)
  })

  it('downloads it for this once where the cache cannot be written', async () => {
    const { url } = await serve(await files())
    const file = join(folder, 'no-folder')
    await writeFile(file, '')
    const warned = new Promise<NodeJS.ErrnoException>((resolve) => process.once('warning', resolve))
    const { train } = await fashionMnist({ ...elsewhere(), cacheFolder: file, url: `${url}/fashion-mnist` })
    expect(train.labels).toHaveLength(60_000)
    expect(await warned).toMatchObject({ code: 'CONTINUAL_DIFFUSION_NO_CACHE', message: expect.stringContaining(file) })
  })

  it('downloads only what is missing', async () => {
    const cache = join(folder, 'cache', 'fashion-mnist')
    await mkdir(cache, { recursive: true })
    for (const file of names.slice(1)) await symlink(join(system?.path as string, file), join(cache, file))
    const { url, asked } = await serve(await files())
    await getKnown('fashion-mnist', { ...elsewhere(), url: `${url}/fashion-mnist` })
    expect(asked).toEqual([`/fashion-mnist/${names[0]}`])
  })

  it('downloads what is damaged again, and leaves what is whole, packed or not', async () => {
    const cache = join(folder, 'cache', 'fashion-mnist')
    await mkdir(cache, { recursive: true })
    const [a, b, c, d] = names as [string, string, string, string]
    const whole = await files()
    const bytes = (file: string) => whole[`/fashion-mnist/${file}`] as Buffer
    await writeFile(join(cache, a), bytes(a).subarray(0, 1000))
    await writeFile(join(cache, b), bytes(b))
    await writeFile(join(cache, c.replace('.gz', '')), gunzipSync(bytes(c)))
    const spoiled = gunzipSync(bytes(d))
    spoiled[100] = (spoiled[100] as number) ^ 1
    await writeFile(join(cache, d.replace('.gz', '')), spoiled)
    const { url, asked } = await serve(whole)
    await getKnown('fashion-mnist', { ...elsewhere(), url: `${url}/fashion-mnist` })
    expect(asked.sort()).toEqual([`/fashion-mnist/${a}`, `/fashion-mnist/${d}`])
    await getKnown('fashion-mnist', { ...elsewhere(), url: `${url}/fashion-mnist` })
    expect(asked).toHaveLength(2)
  })

  it('ships its first 500 + 100 images of each class, in their order', async () => {
    const part = await fashionMnist({ subset: true })
    const whole = await fashionMnist({ folder: system?.path })
    for (const [which, perClass] of [
      ['train', 500],
      ['test', 100],
    ] as const) {
      const { images, labels } = whole[which]
      const seen = new Map<number, number>()
      const kept = [...labels.keys()].filter((i) => {
        const label = labels[i] as number
        seen.set(label, (seen.get(label) ?? 0) + 1)
        return (seen.get(label) as number) <= perClass
      })
      expect([...part[which].labels]).toEqual(kept.map((i) => labels[i]))
      const expected = Buffer.concat(kept.map((i) => images.subarray(i * 784, (i + 1) * 784)))
      expect(Buffer.compare(part[which].images, expected)).toBe(0)
    }
  })
})

describe('the shipped part', () => {
  it('has 500 + 100 images of each class', async () => {
    const { train, test } = await fashionMnist({ subset: true })
    for (const [{ labels, images, name }, perClass] of [
      [train, 500],
      [test, 100],
    ] as const) {
      expect(name).toMatch(/^fashion-mnist-subset\//)
      const counts = Array(10).fill(0)
      for (const label of labels) counts[label]++
      expect(counts).toEqual(Array(10).fill(perClass))
      expect(images).toHaveLength(10 * perClass * 784)
    }
  })

  it('says what it is in the counts of its source, and carries its notice', async () => {
    const { subset } = knownSource('fashion-mnist')
    const { shape } = await parseIdx(await readFile(new URL('train-images-idx3-ubyte.gz', shipped)), 'train')
    expect(shape).toEqual([subset?.counts.train, 28, 28])
    expect(await readFile(new URL('LICENSE', shipped), 'utf8')).toMatch(/MIT License[\s\S]*2017 Zalando SE/)
  })

  it('reads as Python reads it', () => {
    const script = `import gzip,sys; d=gzip.open(sys.argv[1]).read(); print(len(d), sum(d[8:]))`
    const file = new URL('t10k-labels-idx1-ubyte.gz', shipped)
    expect(execFileSync('python3', ['-c', script, file.pathname], { encoding: 'utf8' })).toBe('1008 4500\n')
  })
})

describe('describeSource', () => {
  it('tells where a data set is, with the counts found', async () => {
    const mine = await fill(join(folder, 'mine'))
    const text = await describeSource(knownSource('fashion-mnist'), mine)
    expect(text).toContain(`folder: 5000 + 1000 images in ${mine}`)
    expect(text).toContain('part in this package: 5000 + 1000 images')
    expect(text).not.toContain('to download it')
  })

  it('tells that one is damaged', async () => {
    const mine = await fill(join(folder, 'mine'))
    await writeFile(join(mine, 'train-images-idx3-ubyte.gz'), 'nothing of the kind')
    expect(await describeSource(knownSource('fashion-mnist'), mine)).toMatch(/folder: damaged: .*train-images/)
  })
})
