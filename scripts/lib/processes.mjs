// @ts-check
/** Finds and ends whole process trees, for the scripts and for their watchdog. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** How long a process may take to end after SIGTERM. The local AWS stops MiniStack in this time. */
const GRACE_MS = 12_000;

/** @typedef {{ pid: number, parent: number, group: number, session: number, started: string, name: string }} Process */

/**
 * @param {number | string} pid
 * @returns {Process | undefined} nothing if the process has ended
 */
function fromProc(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name is in parentheses, and may contain spaces and parentheses.
    const end = stat.lastIndexOf(')');
    const name = stat.slice(stat.indexOf('(') + 1, end);
    const fields = stat.slice(end + 2).split(' ');
    if (fields[0] === 'Z') return undefined;
    const [parent, group, session] = fields.slice(1, 4).map(Number);
    return {
      pid: Number(pid),
      parent: parent ?? 0,
      group: group ?? 0,
      session: session ?? 0,
      started: fields[19] ?? '',
      name,
    };
  } catch {
    return undefined;
  }
}

/**
 * @param {string[]} which
 * @returns {Process[]}
 */
function fromPs(which) {
  // The C locale keeps the start time at five words.
  const env = { ...process.env, LC_ALL: 'C' };
  const { stdout } = spawnSync('ps', [...which, '-o', 'pid=,ppid=,pgid=,stat=,lstart=,comm='], {
    encoding: 'utf8',
    env,
  });
  return (stdout ?? '').split('\n').flatMap((line) => {
    const [pid, parent, group, state, ...rest] = line.trim().split(/\s+/);
    if (pid === undefined || group === undefined || state?.startsWith('Z')) return [];
    const started = rest.slice(0, 5).join(' ');
    const name = rest.slice(5).join(' ').split('/').at(-1) ?? '';
    // Not every ps prints sessions. Groups and parents find the same processes while their parents live.
    return [{ pid: Number(pid), parent: Number(parent), group: Number(group), session: 0, started, name }];
  });
}

/**
 * @param {number} pid
 * @returns {Process | undefined} nothing if the process has ended
 */
export function find(pid) {
  return process.platform === 'linux' ? fromProc(pid) : fromPs(['-p', String(pid)])[0];
}

/** @returns {Process[]} */
function all() {
  if (process.platform !== 'linux') return fromPs(['-A']);
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => fromProc(pid) ?? []);
}

const identity = (/** @type {Process} */ { pid, started }) => `${pid} ${started}`;

/** The variable that marks all processes of one command, those in a session of their own as well. */
export const MARK = 'ECS_DISCOVERY_COMMAND';

/**
 * @param {number} pid
 * @param {string} mark
 */
function isMarked(pid, mark) {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${MARK}=${mark}`);
  } catch {
    // It has ended, it is another user's, or this system shows no process its neighbours' environment.
    return false;
  }
}

/** @typedef {{ pid: number, mark: string }} Command the process that leads its session, and its value of MARK */

/**
 * The living processes of a command: those of its session and group, those with its mark, their descendants,
 * and those in `seen`, which may have lost their parent since.
 *
 * @param {Command} command
 * @param {Set<string>} seen
 */
function members({ pid: leader, mark }, seen) {
  const table = all();
  const found = new Set(
    table.filter(
      (one) => [one.pid, one.group, one.session].includes(leader) || seen.has(identity(one)) || isMarked(one.pid, mark),
    ),
  );
  for (let before = -1; before !== found.size;) {
    before = found.size;
    const pids = new Set([...found].map(({ pid }) => pid));
    for (const one of table) if (pids.has(one.parent)) found.add(one);
  }
  for (const one of found) seen.add(identity(one));
  return [...found];
}

/**
 * @param {number} pid
 * @param {NodeJS.Signals} signal
 */
function send(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}

/**
 * Ends a command and everything that it started. Those that remain after a while get SIGKILL.
 *
 * @param {Command} command
 * @param {NodeJS.Signals} [signal] SIGTERM goes to all, another signal to the command's process group as from a terminal
 */
export async function endTree(command, signal = 'SIGTERM') {
  const seen = new Set();
  for (const { pid, group } of members(command, seen)) {
    if (signal === 'SIGTERM' || group === command.pid) send(pid, signal);
  }
  const deadline = Date.now() + GRACE_MS;
  // A process that waits for a device outlives SIGKILL for a while. The script does not wait for it.
  while (members(command, seen).length > 0 && Date.now() < deadline + 5_000) {
    if (Date.now() > deadline) for (const { pid } of members(command, seen)) send(pid, 'SIGKILL');
    await delay(25);
  }
}
