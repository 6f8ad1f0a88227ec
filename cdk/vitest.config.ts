import { defineConfig } from 'vitest/config';

// Some tests start a process or synthesise all environments. That takes seconds on an idle machine, but more
// than a minute on a busy one.
export default defineConfig({ test: { testTimeout: 180_000 } });
