// @ts-check
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { root } from './lib/commands.mjs';

/** @param {string[]} selection which crates, and which kinds of their dependencies */
function features(selection) {
  const args = ['tree', '--locked', '--prefix', 'none', '--format', '{p} {f}', ...selection];
  const { status, stdout, stderr } = spawnSync('cargo', args, { cwd: root, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const lines = stdout.split('\n').map((line) => line.replace(/ \((\*|proc-macro)\)/g, ''));
  // Crates of the workspace have their folder behind their version.
  return new Set(lines.filter((line) => line !== '' && !line.includes(' (/')));
}

// On another platform, cargo would download that platform's dependencies.
const options = { skip: process.platform !== 'linux' };

test('every command compiles the dependencies with the same features', options, () => {
  const whole = features(['--workspace', '--edges', 'normal,dev,build']);
  const crates = ['handler', 'simulation', 'benchmarks', 'scenarios'];
  /** @type {Record<string, string[]>} */
  const selections = {
    'cargo build --workspace': ['--workspace', '--edges', 'normal,build'],
    'cargo test --workspace --exclude handler': ['--workspace', '--exclude', 'handler', '--edges', 'normal,dev,build'],
  };
  for (const crate of crates) {
    selections[`cargo test -p ${crate}`] = ['--package', crate, '--edges', 'normal,dev,build'];
  }
  for (const [command, selection] of Object.entries(selections)) {
    const different = [...features(selection)].filter((line) => !whole.has(line));
    assert.deepEqual(
      different,
      [],
      `\`${command}\` compiles these again; add the missing features to tests/features/Cargo.toml`,
    );
  }
});

test('the handler ships without the features of the tests', options, () => {
  const shipped = features(['--package', 'handler', '--edges', 'normal,build']);
  assert.ok(shipped.size > 100);
  const forTests = /event-stream|critical-section|^tokio .*(process|test-util)/;
  assert.deepEqual(
    [...shipped].filter((line) => forTests.test(line)),
    [],
  );
});
