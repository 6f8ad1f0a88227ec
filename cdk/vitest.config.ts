import { defineConfig } from 'vitest/config';

// Some tests start a process or synthesise every environment: seconds on an idle machine, and nothing
// here depends on how long it takes.
export default defineConfig({ test: { testTimeout: 180_000 } });
