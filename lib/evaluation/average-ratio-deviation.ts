import type { Classifier } from '../classifiers/classifier.js'
import { checkClassifier, nameOf } from './arguments.js'
import { classCounting } from './class-frequencies.js'
import type { Metric } from './metric.js'

/**
 * The average ratio deviation of the class frequencies: Σ|p − q| / 2. p are the class frequencies of the real images by their labels, q those
 * of the generated images by the classifier. It is 0 … 1, the fraction of generated images that would have to be of another class; lower is
 * better. `detail` has `real` and `generated`, the frequencies, one per class.
 *
 * @param options.name key in reports. Default `ard`
 *
 * @category Evaluation
 */
export function averageRatioDeviation<Name extends string = 'ard'>(
  classifier: Classifier,
  options: { name?: Name } = {},
): Metric<NoInfer<Name>> {
  checkClassifier(classifier, 'averageRatioDeviation')
  const name = nameOf<Name>(options, 'averageRatioDeviation', 'ard')
  const title = `ARD of class frequencies (${classifier.name})`
  return {
    name,
    title,
    classes: classifier.classes,
    start: (bootstrap) => classCounting(classifier, title, { value: ({ ard }) => ard }, bootstrap),
  }
}
