import { type Command, Option } from 'commander'
import { dataNames } from '../experiment/data-names.js'
import { presetNames } from '../experiment/presets.js'
import { lrScheduleKinds } from '../learner/learn-options.js'
import { imageSize, partOf, positiveNumber, wholeNumber, wholeNumbers } from './arguments.js'
import type { RunCommandOptions, Shown } from './run-action.js'
import { portOption } from './watch.js'

/** Adds the command `run`: a whole experiment from a preset or a configuration file. */
export function registerRun(program: Command, signal: AbortSignal): void {
  program
    .command('run')
    .description('run an experiment: learn a stream of tasks by each method, evaluate, draw, report')
    .argument('[experiment]', `a preset (${presetNames.join(', ')}) or a JSON file`, 'demo')
    .addOption(
      new Option('--data <name>', 'data set, or the format of a folder, instead of the configured one').choices(
        dataNames,
      ),
    )
    .option('--data-folder <folder>', 'folder with the data, e.g. of image-folder <class>/<image>')
    .addOption(
      new Option(
        '--size <size>',
        'side in pixels of the square images that the U-Net takes, or height and width, e.g. 24x32',
      )
        .argParser(imageSize)
        .conflicts('from'),
    )
    .addOption(
      new Option('--channels <count>', 'channels of these: 1 for grey, 3 for colour')
        .argParser(wholeNumber(1))
        .conflicts('from'),
    )
    .option(
      '--from <folder>',
      'folder of a pretrained diffusers model, in place of the configured U-Net: the teacher of task 1',
    )
    .option('--tasks <counts...>', 'number of tasks, or how many classes each task brings', wholeNumbers(1))
    .option('-m, --method <names...>', 'methods, instead of the configured ones; a configured method keeps its options')
    .option('-s, --seed <seeds...>', 'seeds, instead of the configured ones', wholeNumbers(0))
    .addOption(
      new Option('--steps <count>', 'training steps for each task').argParser(wholeNumber(1)).conflicts('epochs'),
    )
    .option('--epochs <count>', 'passes over the data of each task, e.g. 0.5', positiveNumber)
    .option('--batch-size <count>', 'images in a batch', wholeNumber(1))
    .option('--accumulate <count>', 'batches whose gradients a step sums up', wholeNumber(1))
    .option('--lr <rate>', 'learning rate', positiveNumber)
    .addOption(
      new Option('--lr-schedule <kind>', 'learning rate over a task, without warm-up').choices(lrScheduleKinds),
    )
    .option('--count <count>', 'images that are generated after each task, to be compared', wholeNumber(2))
    .option('--device <device>', 'auto, cpu, cuda or cuda:N')
    .option('--precision <precision>', 'auto, fp32, tf32 or bf16')
    .option('--threads <count>', "threads of the CPU (default: libtorch's)", wholeNumber(1))
    .addOption(
      new Option('--log <format>', 'also write logs that other tools read, into the run folder').choices([
        'tensorboard',
      ]),
    )
    .option('-o, --out <folder>', 'run folder, new or empty (default: runs/<name>)')
    .option(
      '--part <i/n>',
      'run part i of n, each with some of the methods and seeds, in a folder of its own in the run folder; or resume it',
      partOf,
    )
    .option('--markdown', 'print nothing but the final table, in Markdown')
    .option('-q, --quiet', 'show no progress, only warnings, errors and the results')
    .addOption(
      new Option('--json', 'print the events of the run as lines of JSON, and nothing else').conflicts([
        'markdown',
        'quiet',
      ]),
    )
    .option('--watch', 'serve a page of the run while it is under way, to this machine alone')
    .addOption(portOption().implies({ watch: true }))
    .option('--resume <folder>', 'resume the run in this folder; takes none of the options that change a run')
    .action(
      async (
        experiment: string,
        { resume, markdown, quiet, json, watch, port, ...options }: RunCommandOptions & Shown,
        command: Command,
      ) => {
        if (resume !== undefined && (command.args.length > 0 || Object.keys(options).length > 0)) {
          command.error(
            'error: --resume resumes a run with its own configuration: give neither an experiment nor another option',
            {
              exitCode: 2,
            },
          )
        }
        const { run } = await import('./run-action.js')
        await run(experiment, options, { resume, markdown, quiet, json, watch, port }, signal)
      },
    )
}
