// @ts-check
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { findBrowser } from './lib/browser.mjs';
import { local, root } from './lib/commands.mjs';
import { remedy } from './lib/failure.mjs';
import { exclusively } from './lib/lock.mjs';
import { find } from './lib/processes.mjs';
import { count } from './lib/results.mjs';
import { crates } from './lib/steps.mjs';

/** @type {{ accepts: (range: string, version: string) => boolean }} */
const { accepts } = createRequire(import.meta.url)('./lib/check-node.cjs');

const read = (/** @type {string} */ file) => JSON.parse(readFileSync(path.join(root, file), 'utf8'));

test('Node.js versions outside of the range in package.json are refused', () => {
  const range = read('package.json').engines.node;
  const versions = [
    '12.22.12',
    '18.20.8',
    '20.18.3',
    '20.19.0',
    '20.20.2',
    '21.7.3',
    '22.12.0',
    '22.13.0',
    '23.11.1',
    '24.0.0',
    '26.1.0',
  ];
  assert.deepEqual(
    versions.filter((version) => accepts(range, version)),
    ['20.19.0', '20.20.2', '22.13.0', '24.0.0', '26.1.0'],
  );
});

test('every dependency accepts the Node.js versions of the range in package.json', () => {
  const packages = Object.entries(read('package-lock.json').packages);
  assert.ok(packages.length > 100);
  for (const [name, { engines }] of packages) {
    for (const version of ['20.19.0', '22.13.0', '24.0.0']) {
      assert.ok(accepts(engines?.node ?? '*', version), `${name} needs Node.js ${engines?.node}`);
    }
  }
});

test('.nvmrc names a version that the range in package.json accepts', () => {
  const version = readFileSync(path.join(root, '.nvmrc'), 'utf8').trim();
  assert.ok(accepts(read('package.json').engines.node, `${version}.0.0`));
});

test('a browser is an executable file with one of the known names', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'browser-'));
  const folders = ['/nonexistent', folder].join(path.delimiter);
  writeFileSync(path.join(folder, 'chromium'), '', { mode: 0o644 });
  writeFileSync(path.join(folder, 'firefox'), '', { mode: 0o755 });
  assert.equal(findBrowser(folders), undefined);
  writeFileSync(path.join(folder, 'google-chrome'), '', { mode: 0o755 });
  assert.equal(findBrowser(folders), path.join(folder, 'google-chrome'));
  rmSync(folder, { recursive: true });
});

test('the tests of the CDK app are refused without a browser, before any work', () => {
  const script = path.join(root, 'scripts', 'test.mjs');
  const env = { PATH: '/nonexistent' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, 'cdk'], { encoding: 'utf8', env });
  assert.deepEqual({ status, stdout }, { status: 1, stdout: '' });
  assert.match(stderr, /lacks a tool that the project needs:\n {2}Chromium .* \(Debian: apt install chromium\)\n/);
  const other = spawnSync(process.execPath, [script, 'unit'], { encoding: 'utf8', env });
  assert.doesNotMatch(other.stderr, /Chromium/);
});

test('known causes of failures have a remedy', () => {
  const causes = {
    'npm error code EAI_AGAIN\nnpm error request to https://example.org failed': /network/,
    'npm error code ENOSPC': /disk is full/,
    'OSError: [Errno 28] No space left on device': /disk is full/,
    'error: linker `cc` not found': /C compiler/,
    'NewConnectionError(...): Failed to establish a new connection: [Errno -3] Temporary failure in name resolution':
      /network/,
    "error: failed to get `serde`\n  Couldn't resolve host: index (Could not resolve host: index)": /network/,
    'error[E0308]: mismatched types': undefined,
  };
  for (const [output, expected] of Object.entries(causes)) {
    if (expected) assert.match(remedy(output) ?? '', expected, output);
    else assert.equal(remedy(output), undefined);
  }
});

test("cargo's progress bar is read as a number of crates", () => {
  assert.equal(
    crates('    Building [=====>          ] 123/345: aws-sdk-ecs, tokio(build)'),
    '123 of 345 crates, aws-sdk-ecs',
  );
  assert.equal(crates('    Building [>  ] 0/345'), '0 of 345 crates');
  assert.equal(crates('   Compiling tokio v1.54.1'), undefined);
});

test('tests are counted in the output of every runner', () => {
  const cargo =
    'test result: ok. 12 passed; 0 failed; 1 ignored\n\ntest result: FAILED. 3 passed; 2 failed; 0 ignored\n';
  assert.deepEqual(count(cargo, false), { passed: 15, failed: 2 });
  assert.deepEqual(count('      Tests  \x1b[31m1 failed\x1b[39m | \x1b[32m4 passed\x1b[39m (5)\n', false), {
    passed: 4,
    failed: 1,
  });
  assert.deepEqual(count('# tests 7\n# pass 7\n# fail 0\n', true), { passed: 7, failed: 0 });
  assert.deepEqual(count('', true), { passed: 1, failed: 0 });
  assert.deepEqual(count('error: could not compile', false), { passed: 0, failed: 1 });
});

test('a lock whose owner has ended, or was never written, is taken over', async () => {
  mkdirSync(local, { recursive: true });
  const name = `test-${process.pid}`;
  const file = path.join(local, `${name}.lock`);
  try {
    const ended = spawnSync(process.execPath, ['-e', '']).pid;
    // The second one is of a process number that another process has today.
    for (const text of [`${ended} 1`, `${process.pid} 1`, '']) {
      writeFileSync(file, text);
      utimesSync(file, 0, 0);
      const owner = await exclusively(name, async () => readFileSync(file, 'utf8'));
      assert.equal(owner, `${process.pid} ${find(process.pid)?.started}`);
      assert.ok(!existsSync(file));
    }
  } finally {
    rmSync(file, { force: true });
  }
});

test('a lock keeps others out until its owner is done', async () => {
  /** @type {string[]} */
  const order = [];
  const name = `test-order-${process.pid}`;
  /** @type {() => void} */
  let release = () => {};
  const first = exclusively(name, async () => {
    order.push('first starts');
    await new Promise((resolve) => (release = () => resolve(undefined)));
    order.push('first ends');
  });
  const second = exclusively(name, async () => order.push('second'));
  setImmediate(release);
  await Promise.all([first, second]);
  assert.deepEqual(order, ['first starts', 'first ends', 'second']);
});
