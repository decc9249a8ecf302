/**
 * What may import what in lib/: a folder may import those on the lines below its own, and none on its own line or above. Imports of
 * types count. Tests and scripts may import anything.
 */
const lines = [
  ['cli'],
  ['experiment'],
  ['report'],
  ['evaluation'],
  ['classifiers'], // above the learner: a solver learns from what a learner generates
  ['learner'],
  ['checkpoint', 'images'],
  ['streams', 'engine'], // above data and methods: streams are made of data sets, and the addon takes images and objectives
  ['data', 'methods'],
  ['config', 'files'],
  ['validation'],
]

/** Those that may know the addon's contract: the engine's folder, and what wraps one native object each. */
const knowAddon = '^lib/(engine/|learner/|classifiers/(classifier|solver)[.]ts$|evaluation/torch-script-features[.]ts$)'

const folders = lines.flat()
/** @param {string[]} names */
const within = (names) => `^lib/(${names.join('|')})/`

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    { name: 'no-circles', severity: 'error', from: {}, to: { circular: true } },
    ...lines.flatMap((line, i) =>
      line.map((folder) => ({
        name: `${folder}-imports-only-what-is-below`,
        severity: /** @type {const} */ ('error'),
        from: { path: within([folder]) },
        to: {
          path: within(
            lines
              .slice(0, i + 1)
              .flat()
              .filter((other) => other !== folder),
          ),
        },
      })),
    ),
    {
      name: 'errors-import-nothing',
      severity: 'error',
      from: { path: '^lib/errors[.]ts$' },
      to: {},
    },
    {
      name: 'each-folder-has-its-line',
      comment: 'A new folder of lib/ gets its place among the lines of .dependency-cruiser.mjs.',
      severity: 'error',
      from: { path: '^lib/', pathNot: [within(folders), '^lib/(index|errors)[.]ts$'] },
      to: {},
    },
    {
      name: 'index-is-for-users',
      comment: 'An index.ts is an entry point, for users and the index.ts above it.',
      severity: 'error',
      from: { pathNot: '^lib/index[.]ts$' },
      to: { path: '^lib/.*index[.]ts$' },
    },
    {
      name: 'addon-is-wrapped',
      comment: 'The addon is known to lib/engine/ and to the files that wrap one native object, and to nothing else.',
      severity: 'error',
      from: { pathNot: knowAddon },
      to: { path: '^lib/engine/(addon|native-learner|native-values)[.]ts$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
  },
}
