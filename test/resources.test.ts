import { execFile, spawnSync } from 'node:child_process'
import { cp, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import { Classifier, classIncremental, finetune, Solver } from '../lib/index.js'
import { temporaryFolder, writeIdxFolder } from './support/folders.js'
import { goldenPath } from './support/golden.js'
import { compile, script } from './support/processes.js'
import { bandsData, bandsStream, collect, failure, tinyLearner } from './support/tiny.js'

beforeAll(compile, 120_000)

describe('a process that may open no more files', () => {
  it('says so of whatever it reads and writes, and never that a file is damaged', async () => {
    const folder = await temporaryFolder()
    await writeIdxFolder(folder, 4)
    await cp(goldenPath('unet/tiny-gray'), path.join(folder, 'model'), { recursive: true })
    await writeFile(path.join(folder, 'model/scheduler_config.json'), '{"_class_name":"DDIMScheduler"}')
    await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
      .png()
      .toFile(path.join(folder, 'a.png'))
    for (let i = 0; i < 40; i++) {
      await cp(path.join(folder, 'a.png'), path.join(folder, `images/red/${i}.png`), { recursive: true })
    }
    const { stdout, stderr } = await script(`
      import { execFileSync } from 'node:child_process'
      import { closeSync, openSync } from 'node:fs'
      import { loadCifar10, loadIdx, loadImageFolder } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)}
      import { resumeExperiment } from ${JSON.stringify(new URL('../dist/experiment/index.js', import.meta.url).href)}
      process.chdir(${JSON.stringify(folder)})
      const part = (name) => ({ images: name + '-images-idx3-ubyte', labels: name + '-labels-idx1-ubyte' })
      const learner = await create()
      const works = {
        idx: () => loadIdx({ name: 'x', train: part('train'), test: part('t10k') }),
        cifar: () => loadCifar10({ folder: '.' }),
        images: () => loadImageFolder('images', { size: 8 }),
        load: () => Learner.load('model'),
        save: () => learner.save('saved'),
        features: () => TorchScriptFeatures.load('model/config.json', { size: 8, range: [0, 1] }),
        resume: () => resumeExperiment('.'),
      }
      // Whatever is loaded when it is used is used once before.
      for (const work of Object.values(works)) await work().catch(() => undefined)
      await learner.save('saved')
      execFileSync('prlimit', ['--pid', String(process.pid), '--nofile=100'])
      const open = []
      const fill = () => { try { for (;;) open.push(openSync('/dev/null')) } catch {} }
      const said = {}
      for (const [name, work] of Object.entries(works)) {
        fill()
        // With one left, the folder of the images can be read and not the images in it.
        if (name === 'images') closeSync(open.pop())
        said[name] = await work().then(() => 'done', (error) => error.code + ' ' + error.message)
      }
      for (const fd of open) closeSync(fd)
      console.log(JSON.stringify(said))`)
    expect(stderr).toBe('')
    const said = JSON.parse(stdout) as Record<string, string>
    for (const [name, message] of Object.entries(said)) {
      expect(message, name).toMatch(/^ERR_OUT_OF_RESOURCES .*EMFILE.*ulimit -n/)
      expect(message, name).not.toMatch(/remove|delete|damaged:|mend/)
    }
  }, 60_000)
})

describe('what can not fit in memory', () => {
  it('is refused from a batch’s size, and the learner stays usable', async () => {
    const learner = await tinyLearner({ unet: { ...(await tinyLearner()).unet, block_out_channels: [512, 512] } })
    const [first] = bandsStream().tasks
    const huge = { steps: 1, batchSize: 1_000_000 }
    const error = await failure(collect(learner.learn(first!, finetune(), huge)))
    expect(error.code).toBe('ERR_OUT_OF_MEMORY')
    expect(error.message).toMatch(
      /batchSize is 1000000; .* at least [\d,]+ MiB of memory, and [\d,]+ MiB are available/,
    )
    const sampling = learner.sample({ count: 1_000_000, batchSize: 1_000_000 })
    expect((await failure(sampling)).code).toBe('ERR_OUT_OF_MEMORY')
    await collect(learner.learn(first!, finetune(), { steps: 1, batchSize: 2 }))

    const data = bandsData(64)
    const solver = await Solver.create(classIncremental(data, { tasks: 2 }), { device: 'cpu' })
    for (const work of [
      Classifier.train(data, { device: 'cpu', batchSize: 1_000_000 }),
      solver.learn(classIncremental(data, { tasks: 2 }).tasks[0]!, null, { batchSize: 1_000_000 }),
    ]) {
      expect(await failure(work)).toMatchObject({
        code: 'ERR_OUT_OF_MEMORY',
        message: expect.stringMatching(/batchSize is 1000000/),
      })
    }
    await solver.dispose()
  })

  it('is refused by the allocator where no estimate was made', async () => {
    const { unet } = await tinyLearner()
    const error = await failure(tinyLearner({ unet: { ...unet, block_out_channels: [65_536, 65_536] } }))
    expect(error.code).toBe('ERR_OUT_OF_MEMORY')
    expect(error.message).toMatch(/the host is out of memory: \d+ MiB more are needed, and \d+ MiB are available/)
  })
})

it('a limit on memory is not taken for an addon that is not built', async () => {
  const engine = new URL('../dist/engine/load.js', import.meta.url).href
  const source = `
    import { execFileSync } from 'node:child_process'
    import { readFileSync } from 'node:fs'
    const { loadAddon } = await import(${JSON.stringify(engine)})
    const size = 1024 * Number(/VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1])
    execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + (size + 2 ** 26)])
    try { loadAddon() } catch ({ code, message }) { console.log(code + ' ' + message) }`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', source])
  expect(stdout).toMatch(/^ERR_OUT_OF_MEMORY .*ulimit -v/)
})

const separate = spawnSync('unshare', ['--map-root-user', '--mount', 'true']).status === 0

it.skipIf(!separate)('the limit of a control group counts, less what is used and is no page of a file', async () => {
  // In a view of the system of its own, in which the groups of this process, of whichever version, have these limits.
  const view = `
    mount -t tmpfs none /sys/fs/cgroup
    while IFS=: read -r _ kind group; do
      case $kind in
        memory) folder=/sys/fs/cgroup/memory$group limit=memory.limit_in_bytes used=memory.usage_in_bytes total=total_ ;;
        '') folder=/sys/fs/cgroup$group limit=memory.max used=memory.current total= ;;
        *) continue ;;
      esac
      mkdir -p $folder
      echo 100000000 > $folder/$limit
      echo 70000000 > $folder/$used
      printf "\${total}active_file 10000000\n\${total}inactive_file 5000000\n" > $folder/memory.stat
    done < /proc/self/cgroup
    exec "$@"`
  const engine = new URL('../dist/engine/load.js', import.meta.url).href
  const source = `
    const { loadAddon } = await import(${JSON.stringify(engine)})
    console.log(loadAddon().availableMemory())`
  const node = [process.execPath, '--input-type=module', '--eval', source]
  const { stdout } = await promisify(execFile)('unshare', [
    '--map-root-user',
    '--mount',
    'sh',
    '-ec',
    view,
    'sh',
    ...node,
  ])
  expect(Number(stdout)).toBe(45_000_000)
})
