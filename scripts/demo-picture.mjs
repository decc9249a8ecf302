// Draws docs/demo.png, the README's picture, or another, from a finished run: a row for each method, the grid after each task.
// node scripts/demo-picture.mjs <run-folder> [seed] [file]
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'

const [folder, seed = '42', file = 'docs/demo.png'] = process.argv.slice(2)
if (folder === undefined || !existsSync(join(folder, 'results.json'))) {
  console.error('usage: node scripts/demo-picture.mjs <folder of a finished run> [seed] [file]')
  process.exit(2)
}
/** @type {{ methods: { label: string }[], runs: { seed: number, tasks: { task: number, name: string }[] }[] }} */
const { methods, runs } = JSON.parse(readFileSync(join(folder, 'results.json'), 'utf8'))
const tasks = runs.find((run) => String(run.seed) === seed)?.tasks
if (tasks === undefined) {
  console.error(`${folder} has no run of seed ${seed}`)
  process.exit(2)
}

const side = 220
const gap = 14
const [left, top] = [170, 60]
const width = left + tasks.length * (side + gap)
const height = top + methods.length * (side + gap)

/** @param {number} x @param {number} y @param {string} content @param {string} style */
const text = (x, y, content, style) => `<text x="${x}" y="${y}" ${style}>${content}</text>`
const label = 'font-family="sans-serif" fill="#333"'
const words = methods.flatMap(({ label: name }, row) =>
  name.split('-').map((word, line, all) => {
    const middle = top + row * (side + gap) + side / 2
    return text(
      left - 16,
      middle + (line - (all.length - 1) / 2) * 22 + 6,
      word,
      `${label} font-size="18" text-anchor="end"`,
    )
  }),
)
const heads = tasks.flatMap(({ task, name }, column) => {
  const x = left + column * (side + gap) + side / 2
  return [
    text(x, 24, `after task ${task}`, `${label} font-size="17" text-anchor="middle"`),
    text(x, 46, `+ ${name}`, `${label} font-size="14" text-anchor="middle" opacity="0.7"`),
  ]
})
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><rect width="100%" height="100%" fill="white"/>${[...words, ...heads].join('')}</svg>`

const grids = await Promise.all(
  methods.flatMap(({ label: name }, row) =>
    tasks.map(async ({ task }, column) => ({
      input: await sharp(join(folder, 'samples', name, `seed-${seed}`, `task-${task}.png`))
        .resize(side, side, { kernel: 'nearest', fit: 'contain', position: 'top', background: 'white' })
        .toBuffer(),
      left: left + column * (side + gap),
      top: top + row * (side + gap),
    })),
  ),
)
await sharp(Buffer.from(svg)).composite(grids).png({ compressionLevel: 9, palette: true }).toFile(file)
console.log(`${file}: ${width} × ${height}`)
