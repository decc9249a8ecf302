import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Tests that train or build share the machine's cores with libtorch's own threads.
    maxWorkers: 2,
    // The networks of the tests are tiny: several threads would only wait for each other, and on a busy machine for long.
    env: { OMP_NUM_THREADS: '1' },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
