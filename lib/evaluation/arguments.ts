import { z } from 'zod'
import { Classifier } from '../classifiers/classifier.js'
import type { FeatureExtractor } from '../classifiers/features.js'
import type { ImageBatch, Subset } from '../data/dataset.js'
import { imageBatchSchema } from '../data/schemas.js'
import { invalid } from '../errors.js'
import { arraySchema, functionSchema, itself } from '../validation/fields.js'
import { parseOptions, shown } from '../validation/options.js'
import type { Metric } from './metric.js'

/** Schemas of what metrics are made of, and of what they are given. */

export const classifierSchema = z.custom<Classifier>((value) => value instanceof Classifier, 'expected a Classifier')

const extractorExpected = 'expected a feature extractor, e.g. a Classifier'

const extractorSchema = itself<FeatureExtractor>(
  z.looseObject(
    {
      name: z.string(),
      dimension: z.int().min(1),
      inceptionV3: z.boolean().optional(),
      features: functionSchema(),
    },
    extractorExpected,
  ),
)

const metricExpected = 'expected a metric, e.g. frechetDistance(classifier)'

export const metricSchema = itself<Metric>(
  z.looseObject(
    {
      name: z.string(),
      title: z.string(),
      higherIsBetter: z.boolean().optional(),
      minimum: z.int().min(1).optional(),
      classes: z.array(z.string()).optional(),
      start: functionSchema(),
    },
    metricExpected,
  ),
)

const nameSchema = z.strictObject({ name: z.string().min(1).optional() })

/** The option `name` of a metric, whose type is that of the default where it isn't given. */
export function nameOf<Name extends string>(options: { name?: Name }, where: string, byDefault: string): Name {
  return (parseOptions(nameSchema, options, where).name ?? byDefault) as Name
}

export function checkExtractor(extractor: unknown, where: string): void {
  parseOptions(extractorSchema, extractor, `${where}: extractor`)
}

export function checkClassifier(classifier: unknown, where: string): void {
  parseOptions(classifierSchema, classifier, `${where}: classifier`)
}

/**
 * Checks that labels mean the same to images and to what tells their classes apart.
 *
 * @param what tells them apart
 */
export function checkSameClasses(classes: readonly string[], what: string, subsets: readonly Subset[]): void {
  for (const { dataset } of subsets) {
    const other = dataset.classes.findIndex((name, i) => i < classes.length && name !== classes[i])
    if (other < 0) continue
    throw invalid(
      `${what}: class ${other} is ${shown(classes[other])}; expected ${shown(dataset.classes[other])}, as in ${dataset.name}: a label ` +
        'must mean the same class to both',
    )
  }
}

const kindSchema = z.enum(['real', 'generated'])
const labelsSchema = arraySchema(Int32Array).optional()

/** Checks what a run of a metric is to add. */
export function checkAdded(title: string, images: ImageBatch, kind: 'real' | 'generated', labels?: Int32Array): void {
  parseOptions(imageBatchSchema, images, `${title}: images`)
  parseOptions(kindSchema, kind, `${title}: kind`)
  parseOptions(labelsSchema, labels, `${title}: labels`)
}
