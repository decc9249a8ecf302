import type { Classifier } from '../classifiers/classifier.js'
import { invalid } from '../errors.js'
import { checkAdded, checkClassifier, nameOf } from './arguments.js'
import { askedLabels } from './asked.js'
import { intervalOfFraction } from './interval.js'
import type { Metric } from './metric.js'

/**
 * Of a class-conditional learner: the fraction of generated images that the classifier takes for the class that was asked for. Higher is
 * better. `detail` has `classes`, the fraction for each class (NaN for one that was not asked for), and `asked`, how often each was.
 *
 * @param classifier of the same classes as the learner's data
 * @param options.name key in reports. Default `conditionalAccuracy`
 *
 * @category Evaluation
 */
export function conditionalAccuracy<Name extends string = 'conditionalAccuracy'>(
  classifier: Classifier,
  options: { name?: Name } = {},
): Metric<NoInfer<Name>> {
  checkClassifier(classifier, 'conditionalAccuracy')
  const name = nameOf<Name>(options, 'conditionalAccuracy', 'conditionalAccuracy')
  const title = `Conditional accuracy (${classifier.name})`
  return {
    name,
    title,
    higherIsBetter: true,
    classes: classifier.classes,
    start(bootstrap) {
      const classes = classifier.classes.length
      const asked = new Array<number>(classes).fill(0)
      const right = new Array<number>(classes).fill(0)
      let real = 0
      return {
        async add(images, kind, labels) {
          checkAdded(title, images, kind, labels)
          if (kind === 'real') {
            real += images.count
            return
          }
          const wanted = askedLabels(title, labels)
          if (wanted.length !== images.count) {
            throw invalid(
              `${title}: ${wanted.length} labels for ${images.count} generated images; expected one for each`,
            )
          }
          const outside = wanted.find((label) => !(label >= 0 && label < classes))
          if (outside !== undefined) {
            throw invalid(`${title}: the learner was asked for class ${outside}; the classifier has ${classes} classes`)
          }
          const { labels: found } = await classifier.classifyOnce(images)
          wanted.forEach((label, i) => {
            asked[label]!++
            if (found[i] === label) right[label]!++
          })
        },
        async addReal(images) {
          for (const labels of images.labels()) real += labels.length
        },
        async finish(signal) {
          const generated = asked.reduce((sum, count) => sum + count, 0)
          if (generated === 0) throw invalid(`${title}: there are no generated images; expected at least one`)
          const value = right.reduce((sum, count) => sum + count, 0) / generated
          const interval = bootstrap && (await intervalOfFraction(value, generated, bootstrap, signal))
          const detail = { classes: right.map((count, c) => count / asked[c]!), asked }
          return { real, generated, value, ...(interval && { interval }), detail }
        },
      }
    },
  }
}
