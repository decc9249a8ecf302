import { expect, it } from 'vitest'
import { experimentJsonSchema } from '../lib/experiment/json-schema.js'

interface Schema {
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly type?: string
  readonly default?: unknown
  readonly description?: string
  readonly minimum?: number
  readonly exclusiveMinimum?: number
  readonly maximum?: number
  readonly exclusiveMaximum?: number
  readonly required?: readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly items?: Schema | false
  readonly prefixItems?: readonly Schema[]
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
}

const code = (value: unknown) => `\`${JSON.stringify(value)}\``
/** What zod has for any whole number. */
const anyInteger = Number.MAX_SAFE_INTEGER

function bounds({ minimum, exclusiveMinimum, maximum, exclusiveMaximum }: Schema): string {
  const low = minimum === undefined ? (exclusiveMinimum === undefined ? '' : `> ${exclusiveMinimum}`) : `≥ ${minimum}`
  const isLimited = maximum !== undefined && maximum !== anyInteger
  const high = isLimited ? `≤ ${maximum}` : exclusiveMaximum === undefined ? '' : `< ${exclusiveMaximum}`
  return [low, high].filter((bound) => bound !== '' && !bound.includes(String(-anyInteger))).join(', ')
}

function values(schema: Schema): string {
  const { type, items, prefixItems, anyOf } = schema
  if (schema.enum) return schema.enum.map(code).join(', ')
  if (schema.const !== undefined) return code(schema.const)
  if (anyOf) return [...new Set(anyOf.map(values))].join(' or ')
  if (prefixItems) return `[${prefixItems.map(values).join('; ')}]`
  if (type === 'array' && items) return `list of: ${values(items)}`
  if (type === 'integer' || type === 'number') {
    return [type === 'integer' ? 'whole number' : 'number', bounds(schema)].filter(Boolean).join(' ')
  }
  if (type === 'boolean') return '`true`, `false`'
  return type === 'object'
    ? 'object'
    : type === 'string'
      ? 'text'
      : type === 'null'
        ? '`null`'
        : schema.oneOf
          ? 'object of a kind below'
          : 'see there'
}

/** A row for each key, also for those inside of others and of each kind. */
function rows(schema: Schema, at: string): string[] {
  const { properties = {}, required = [], oneOf, anyOf, items } = schema
  const inner = [...(oneOf ?? []), ...(anyOf ?? [])].flatMap((one) => {
    const { kind: ofKind, name, warmup } = one.properties ?? {}
    const kind = ofKind?.const ?? name?.const ?? warmup?.const
    return rows(one, kind === undefined ? at : `${at} (${kind})`)
  })
  const own = Object.entries(properties).flatMap(([key, value]) => {
    const path = at === '' ? key : `${at}.${key}`
    const isNamed = Object.hasOwn(value, 'const')
    const byDefault = isRecordDefault(value) || value.default === undefined ? '' : code(value.default)
    const inWords = /^Default: (.*)$/.exec(value.description ?? '')?.[1] ?? ''
    const row = `| ${path} | ${values(value)} | ${required.includes(key) ? 'required' : byDefault || inWords} |`
    return [...(isNamed ? [] : [row]), ...rows(value, path)]
  })
  return [...new Set([...own, ...kinds(schema, at), ...inner, ...(items ? rows(items, at) : [])])]
}

/** The key that tells the kinds of an object apart, with all its values. */
function kinds({ oneOf = [] }: Schema, at: string): string[] {
  const key = Object.entries(oneOf[0]?.properties ?? {}).find(([, one]) => one.const !== undefined)?.[0]
  if (key === undefined) return []
  const consts = oneOf.map(({ properties }) => code(properties?.[key]?.const))
  // The kind that an object is of without the key.
  const usual = oneOf.find(({ required = [] }) => !required.includes(key))?.properties?.[key]?.const
  return [`| ${at}.${key} | ${consts.join(', ')} | ${usual === undefined ? 'required' : code(usual)} |`]
}

const isRecordDefault = ({ default: value }: Schema) => JSON.stringify(value) === '{}'

it('every key of an experiment stands in the documentation with its default', async () => {
  const schema = experimentJsonSchema() as Schema
  const text = [
    '# All keys of an experiment',
    '',
    'A test makes this table from the schema: `npx vitest run experiment-keys -u` writes it again. [experiments.md](experiments.md) says what',
    'the keys mean. Without a default in the table, a key that is left out is not used, or its default stands in words.',
    '',
    '| key | values | default |',
    '| :--- | :--- | :--- |',
    ...rows(schema, ''),
    '',
  ].join('\n')
  expect(text).toMatch(/\| stream\.kind \| `"class-incremental"`, .* \| `"class-incremental"` \|/)
  expect(text).toMatch(/\| data\.name \| `"fashion-mnist"`, .* \| required \|/)
  expect(text).toMatch(/\| schedule\.timesteps \| .* \| 1000, or as many as there are betas \|/)
  expect(text).toMatch(/\| evaluation\.features\.inceptionV3 \|/)
  expect(text).toMatch(/\| evaluation\.k \| whole number ≥ 1, ≤ 1000 \| `3` \|/)
  await expect(text).toMatchFileSnapshot('../docs/experiment-keys.md')
})
