import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

// package.json "imports" point at dist/; tests read the sources, so `#floor/twin` becomes src/floor/twin.node.ts here.
export default defineConfig({
  resolve: {
    alias: [{ find: /^#([a-z]+)\/([a-z]+)$/, replacement: `${fileURLToPath(new URL('./src', import.meta.url))}/$1/$2.node.ts` }],
  },
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
