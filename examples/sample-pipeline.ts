// A Node stream pipeline: samples of a saved learner go through sharp into PNG files. A batch is
// generated only when the earlier ones have been written, so any number of samples needs little memory.
// `npx tsx examples/sample-pipeline.ts runs/first/task-5 samples 1000`
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { Learner } from 'continual-diffusion'
import sharp, { type Raw } from 'sharp'

const [from = 'runs/first/task-5', to = 'samples', wanted = '1000'] = process.argv.slice(2)
await using learner = await Learner.load(from)
await mkdir(to, { recursive: true })

async function* generate(total: number, atOnce = 100) {
  for (let done = 0; done < total; done += atOnce) {
    const batch = await learner.sample({ count: Math.min(atOnce, total - done), seed: done })
    const { data, count, height, width, channels } = batch
    const raw: Raw = { height, width, channels: channels as Raw['channels'] }
    const size = height * width * channels
    for (let i = 0; i < count; i++) yield { number: done + i, pixels: data.subarray(i * size, (i + 1) * size), raw }
  }
}

async function* encode(images: AsyncIterable<{ number: number; pixels: Uint8Array; raw: Raw }>) {
  for await (const { number, pixels, raw } of images)
    yield { number, png: await sharp(pixels, { raw }).png().toBuffer() }
}

await pipeline(generate(Number(wanted)), encode, async (files: AsyncIterable<{ number: number; png: Buffer }>) => {
  for await (const { number, png } of files) await writeFile(path.join(to, `${number}.png`), png)
})
