import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // Some tests start a process or synthesise all environments. That takes seconds on an idle machine, but more
    // than a minute on a busy one.
    testTimeout: 180_000,
    globalSetup: ['test/temporary-folder.ts'],
  },
});
