import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { arraySchema, itself } from '../validation/fields.js'
import { isRecord } from '../validation/options.js'
import { channelsSchema, imageSizeSchema } from '../validation/size.js'
import type { Dataset, ImageBatch, Subset, TrainTest } from './dataset.js'

/** Schemas of data that functions are given. Data sets are passed on themselves, as each stands for its copy on a device. */

const count = z.int().min(1)

export const datasetSchema = itself<Dataset>(
  z.looseObject({
    name: z.string(),
    images: arraySchema(Uint8Array),
    labels: arraySchema(Int32Array),
    classes: z.array(z.string()),
    height: count,
    width: count,
    channels: channelsSchema,
    size: imageSizeSchema.optional(),
  }),
)

export const trainTestSchema = itself<TrainTest>(
  z
    .custom(
      (value) => !(isRecord(value) && 'images' in value),
      'expected training and test images: join two data sets by trainTest(train, test), or split one by trainTestSplit(dataset)',
    )
    .pipe(
      z.looseObject({ train: datasetSchema, test: datasetSchema }).refine(
        // What they lack otherwise is told by their own schemas.
        ({ train, test }: Partial<TrainTest>) =>
          !Array.isArray(train?.classes) ||
          !Array.isArray(test?.classes) ||
          (train.channels === test.channels && isDeepStrictEqual(train.classes, test.classes)),
        'expected train and test with the same channels and the same classes, in the same order: join them by trainTest(train, test)',
      ),
    ),
)

/** Gives a copy of the indices: what is done to the user's array later makes no difference. */
export const subsetSchema = z
  .looseObject({ dataset: datasetSchema, indices: arraySchema(Int32Array) })
  .transform(({ dataset, indices }): Subset => ({ dataset, indices: indices.slice() }))

const batch = z.looseObject({
  data: arraySchema(Uint8Array),
  count: z.int().min(0),
  height: count,
  width: count,
  channels: channelsSchema,
})

/** What makes a batch; that its bytes are as many as its shape says is for whoever uses them. */
export const imageBatchSchema = itself<ImageBatch>(batch)

/** At least one image. */
export const imagesSchema = itself<ImageBatch>(
  batch
    .extend({ count })
    .refine(
      (images) => images.data.length === images.count * images.height * images.width * images.channels,
      'expected as many bytes as count × height × width × channels',
    ),
)
