// @ts-check
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { find } from './lib/processes.mjs';

const folder = mkdtempSync(path.join(tmpdir(), 'commands-'));
after(() => rmSync(folder, { recursive: true, force: true }));

// A command with a descendant in a process group of its own, like MiniStack below the local AWS. Both ignore SIGINT.
writeFileSync(
  path.join(folder, 'command.mjs'),
  `import { spawn } from 'node:child_process';
  process.on('SIGINT', () => {});
  const wait = ['-e', "process.on('SIGINT', () => {}); setInterval(() => {}, 1000)"];
  const inner = spawn(process.execPath, wait, { stdio: 'ignore', detached: process.argv[2] === 'detached' });
  console.log(process.pid, inner.pid);
  setInterval(() => console.log('alive'), 20);`,
);
writeFileSync(
  path.join(folder, 'script.mjs'),
  `import { foreground, run } from ${JSON.stringify(new URL('lib/commands.mjs', import.meta.url).href)};
  await run(() => foreground(process.execPath, process.argv.slice(2)));`,
);

/**
 * Starts a script, and waits until its command runs.
 *
 * @param {string[]} command that starts the script
 * @param {NodeJS.ProcessEnv} [env]
 */
async function start(command, env = {}) {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk) => (errors += chunk));
  const ended = new Promise((resolve) => child.on('exit', (status, signal) => resolve(status ?? signal)));
  /** @type {number[]} */
  let pids = [];
  for await (const line of createInterface({ input: child.stdout })) {
    pids = line.split(' ').map(Number);
    break;
  }
  child.stdout.resume();
  assert.equal(pids.length, 2, errors);
  return { child, pids, ended, errors: () => errors };
}

/** @param {number[]} pids */
async function gone(pids) {
  for (const deadline = Date.now() + 120_000; pids.some((pid) => find(pid)); await delay(20)) {
    assert.ok(Date.now() < deadline, `still running: ${pids.filter((pid) => find(pid))}`);
  }
}

const script = [process.execPath, path.join(folder, 'script.mjs'), path.join(folder, 'command.mjs')];

for (const group of ['', 'detached']) {
  test(`SIGKILL to a script ends its command and all descendants ${group}`, async () => {
    const { child, pids } = await start([...script, group]);
    child.kill('SIGKILL');
    await gone(pids);
  });

  test(`SIGTERM to a script ends its command and all descendants ${group}`, async () => {
    const { child, pids, ended, errors } = await start([...script, group]);
    child.kill('SIGTERM');
    assert.equal(await ended, 143);
    await gone(pids);
    assert.equal(errors(), '');
  });
}

test('a script ends when npm, which started it, is killed', async () => {
  const npm = `const child = require('child_process').spawn(process.argv[1], process.argv.slice(2), { stdio: 'inherit' });`;
  const { child, pids } = await start([process.execPath, '-e', npm, '--', ...script], { npm_lifecycle_event: 'test' });
  child.kill('SIGKILL');
  await gone(pids);
});

test('a script ends when npm is killed and a shell between them stays', async () => {
  const npm = `const child = require('child_process').spawn('sh', ['-c', '"$@"; true', 'sh', ...process.argv.slice(1)], { stdio: 'inherit' });`;
  const { child, pids } = await start([process.execPath, '-e', npm, '--', ...script], { npm_lifecycle_event: 'test' });
  child.kill('SIGKILL');
  await gone(pids);
});

test('a script whose reader closes the pipe ends without a stack trace', async () => {
  const { child, pids, ended, errors } = await start(script);
  child.stdout.destroy();
  assert.equal(await ended, 141);
  await gone(pids);
  assert.equal(errors(), '');
});

test('a command that leaves a process behind does not leave it running', async () => {
  const leaver = path.join(folder, 'leaver.mjs');
  writeFileSync(
    leaver,
    `import { spawn } from 'node:child_process';
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' });
    child.unref();
    console.log(process.pid, child.pid);
    setTimeout(() => process.exit(0), 50);`,
  );
  const { pids, ended } = await start([process.execPath, path.join(folder, 'script.mjs'), leaver]);
  assert.equal(await ended, 0);
  await gone(pids);
});

test('a command that does not exist is reported in one sentence', () => {
  const missing = path.join(folder, 'missing.mjs');
  writeFileSync(
    missing,
    `import { execute, run } from ${JSON.stringify(new URL('lib/commands.mjs', import.meta.url).href)};
    await run(() => execute('no-such-command', []));`,
  );
  const { status, stderr } = spawnSync(process.execPath, [missing], { encoding: 'utf8' });
  assert.equal(status, 1);
  assert.equal(stderr, '\n✗ no-such-command was not found. Run `npm run setup`.\n');
});

const here = path.dirname(fileURLToPath(import.meta.url));
for (const name of ['setup', 'start', 'test', 'fix', 'simulate', 'mutate', 'bench', 'diff']) {
  test(`${name} answers --help, and refuses unknown arguments, before any work`, () => {
    const file = path.join(here, `${name}.mjs`);
    // Without any command to run, nothing but the arguments can be looked at.
    const env = { PATH: '/nonexistent' };
    const help = spawnSync(process.execPath, [file, '--help'], { encoding: 'utf8', env });
    assert.equal(help.status, 0, help.stderr);
    assert.match(help.stdout, /^usage: npm /);
    const unknown = spawnSync(process.execPath, [file, '--no-such-option'], { encoding: 'utf8', env });
    assert.equal(unknown.status, 2);
    assert.match(unknown.stderr, /^Unknown option '--no-such-option'[^]*usage: npm /);
    assert.equal(unknown.stdout, '');
  });
}
