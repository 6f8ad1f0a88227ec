/** Gives the tests a folder for temporary files, and removes it with everything that the CDK leaves in it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export default function setUp() {
  const folder = mkdtempSync(path.join(tmpdir(), 'cdk-tests-'));
  process.env.TMPDIR = folder;
  return () => {
    rmSync(folder, { recursive: true, force: true });
  };
}
