// @ts-check
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { root } from './lib/commands.mjs';
import { mutations, occurrences } from './lib/mutations.mjs';
import { rustVersion } from './lib/pins.mjs';
import { find } from './lib/processes.mjs';

for (const { name, edits } of mutations) {
  test(`the handler contains each text of the mutation exactly once: ${name}`, () => {
    for (const [file, found, instead] of edits) {
      const source = readFileSync(path.join(root, 'handler', 'src', file), 'utf8');
      assert.equal(occurrences(source, found), 1, `${file}: ${found}`);
      assert.notEqual(found, instead);
    }
  });
}

for (const { name, test: found } of mutations) {
  if (!found) continue;
  test(`the test of the mutation exists: ${name}`, () => {
    const file = found.target[1]
      ? `tests/${found.target[1]}.rs`
      : `src/${found.name.split('::').slice(0, -2).join('/')}.rs`;
    const source = readFileSync(path.join(root, 'handler', file), 'utf8');
    assert.match(source, new RegExp(`fn ${found.name.split('::').at(-1)}\\(`));
  });
}

// A checkout with a cargo whose builds are a script: it prints a violation, or waits to be interrupted.
const checkout = mkdtempSync(path.join(tmpdir(), 'mutate-'));
after(() => rmSync(checkout, { recursive: true, force: true }));
const at = (/** @type {string} */ file) => path.join(checkout, file);
for (const file of ['package.json', 'Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml', 'scripts']) {
  cpSync(path.join(root, file), at(file), { recursive: true });
}
mkdirSync(at('tests'));
/** @type {Map<string, string>} */
const sources = new Map();
for (const [file, found] of mutations.flatMap(({ edits }) => edits)) {
  const source = sources.get(file) ?? '';
  sources.set(file, source.includes(found) ? source : `${source}${found}\n`);
}
for (const [file, source] of sources) {
  mkdirSync(path.dirname(at(`handler/src/${file}`)), { recursive: true });
  writeFileSync(at(`handler/src/${file}`), source);
}
mkdirSync(at('target/debug'), { recursive: true });
writeFileSync(at('target/debug/simulation'), 'of the sources');
mkdirSync(at('bin'));
writeFileSync(
  at('bin/cargo'),
  `#!/bin/sh
if [ "$1" = --version ]; then echo cargo ${rustVersion()}; exit; fi
if [ "$HANG" ]; then echo $$ > "$HANG"; exec sleep 600; fi
case "$*" in *--exact*) echo 'test result: FAILED. 0 passed; 1 failed; 0 ignored'; exit 101;; esac
mkdir -p "$CARGO_TARGET_DIR/simulation"
printf '#!/bin/sh\\necho "✗ seed 7 breaks invariant 3"\\n' > "$CARGO_TARGET_DIR/simulation/simulation"
chmod +x "$CARGO_TARGET_DIR/simulation/simulation"
`,
  { mode: 0o755 },
);

/** @param {NodeJS.ProcessEnv} [more] */
function mutate(more = {}) {
  const env = { ...process.env, PATH: `${at('bin')}${path.delimiter}${process.env.PATH}`, ...more };
  const child = spawn(process.execPath, [at('scripts/mutate.mjs')], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  const ended = new Promise((resolve) => child.on('close', (status) => resolve({ status, output })));
  return { child, ended };
}

function assertUntouched() {
  assert.equal(readFileSync(at('target/debug/simulation'), 'utf8'), 'of the sources');
  for (const [file, source] of sources) assert.equal(readFileSync(at(`handler/src/${file}`), 'utf8'), source);
}

test('a run leaves the sources and the binary that was built from them as they are', async () => {
  const { status, output } = await mutate().ended;
  assert.equal(status, 0, output);
  assert.match(output, new RegExp(`\\n${mutations.length} passed, 0 failed\\n$`));
  assertUntouched();
});

test('a run that is killed does the same, and the next run succeeds', async () => {
  const started = at('started');
  const { child, ended } = mutate({ HANG: started });
  for (const deadline = Date.now() + 120_000; !existsSync(started) || !readFileSync(started, 'utf8'); await delay(20)) {
    assert.ok(Date.now() < deadline);
  }
  const cargo = Number(readFileSync(started, 'utf8'));
  child.kill('SIGKILL');
  await ended;
  for (const deadline = Date.now() + 120_000; find(cargo); await delay(20)) {
    assert.ok(Date.now() < deadline, `still running: ${JSON.stringify(find(cargo))}`);
  }
  assertUntouched();
  const { status, output } = await mutate().ended;
  assert.equal(status, 0, output);
  assertUntouched();
});
