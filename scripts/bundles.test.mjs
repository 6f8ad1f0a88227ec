// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { strToU8, zipSync } from 'fflate';
import { reproducible } from './lib/bundles.mjs';

test('the archive of the handler does not depend on the time of its build, and its file is executable', () => {
  const built = (/** @type {number} */ year) =>
    reproducible(zipSync({ bootstrap: [strToU8('handler'), { mtime: new Date(year, 5, 1) }] }));
  const archive = Buffer.from(built(2026));
  assert.deepEqual(archive, Buffer.from(built(2030)));
  // The central directory has the system that made the file, and its mode.
  const entry = archive.indexOf(Buffer.from([0x50, 0x4b, 0x01, 0x02]));
  assert.equal(archive.readUInt8(entry + 5), 3, 'Unix');
  assert.equal((archive.readUInt32LE(entry + 38) >>> 16) & 0o777, 0o755);
});

test('an archive without the handler is refused', () => {
  assert.throws(() => reproducible(zipSync({ other: strToU8('') })), /does not contain the file bootstrap/);
});
