import type { TrainTest } from '../data/dataset.js'
import { allClasses, buildStream, whole } from './build.js'
import type { Stream } from './stream.js'

/** All data in one task: ordinary training. */
export function single({ train, test }: TrainTest): Stream {
  const name = train.name.replace(/\/train$/, '')
  return buildStream(name, [{ name, classes: allClasses(train), train: whole(train), test: whole(test) }])
}
