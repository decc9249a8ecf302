import { z } from 'zod'
import { Classifier } from '../classifiers/classifier.js'
import type { FeatureExtractor } from '../classifiers/features.js'
import type { ImageBatch } from '../data/dataset.js'
import { imageBatchSchema } from '../data/schemas.js'
import { arraySchema, functionSchema, itself } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
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

const kindSchema = z.enum(['real', 'generated'])
const labelsSchema = arraySchema(Int32Array).optional()

/** Checks what a run of a metric is to add. */
export function checkAdded(title: string, images: ImageBatch, kind: 'real' | 'generated', labels?: Int32Array): void {
  parseOptions(imageBatchSchema, images, `${title}: images`)
  parseOptions(kindSchema, kind, `${title}: kind`)
  parseOptions(labelsSchema, labels, `${title}: labels`)
}
