import { z } from 'zod'
import { experimentSchema } from './config.js'
import { presetNames } from './presets.js'

/** The JSON Schema of an experiment file, for editors: names and kinds of all keys, and their defaults. */
export function experimentJsonSchema(): Record<string, unknown> {
  const { properties, required: _, ...rest } = z.toJSONSchema(experimentSchema, { io: 'input', unrepresentable: 'any' })
  const { unet, ...others } = properties as Record<string, Record<string, unknown>>
  const { required: __, ...partOfUNet } = unet as Record<string, unknown>
  return {
    ...rest,
    title: 'An experiment of continual-diffusion',
    properties: {
      $schema: { type: 'string' },
      preset: { enum: presetNames, description: 'An experiment to begin with; the other keys replace its own.' },
      ...others,
      // With a preset, only what differs from it is given.
      unet: partOfUNet,
    },
  }
}
