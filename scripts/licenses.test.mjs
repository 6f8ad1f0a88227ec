// @ts-check
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { billOfMaterials, crates, notices, npmPackages } from './lib/licenses.mjs';

const folder = mkdtempSync(path.join(tmpdir(), 'licenses-'));
after(() => rmSync(folder, { recursive: true }));

/**
 * @param {string} name
 * @param {Record<string, string>} files
 */
function component(name, files) {
  const own = path.join(folder, name);
  mkdirSync(path.join(own, 'licenses'), { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(path.join(own, file), text);
  return { name, version: '1.0.0', license: 'MIT', purl: `pkg:cargo/${name}@1.0.0`, folder: own };
}

describe('the notices', () => {
  test('have each text once, for all components with it, and name components without a text', () => {
    const components = [
      component('second', { LICENSE: 'Shared text\r\n' }),
      component('first', { 'LICENSE-MIT': 'Shared text\n', 'NOTICE.txt': 'A notice', 'license.rs': 'fn main() {}' }),
      component('bare', {}),
    ];
    const line = '-'.repeat(80);
    assert.equal(
      notices('In the handler', components),
      `In the handler

bare 1.0.0: MIT, without a license text of its own
first 1.0.0: MIT
second 1.0.0: MIT

${line}
For first 1.0.0, second 1.0.0:

Shared text

${line}
For first 1.0.0:

A notice
`,
    );
  });

  test('cover the crates that are linked into the handler, without those of macros and tests', async () => {
    const names = new Set((await crates('x86_64')).map(({ name }) => name));
    for (const linked of ['aws-sdk-route53', 'ring', 'tokio']) assert.ok(names.has(linked), linked);
    for (const other of ['handler', 'insta', 'serde_derive', 'tokio-macros', 'cc']) assert.ok(!names.has(other), other);
  });

  test('find the npm package of a file, also of a scope and inside of another package', () => {
    const files = ['node_modules/zod/v4/index.js', 'node_modules/@aws-sdk/core/dist/index.js', 'cdk/cli/main.ts'];
    const found = npmPackages(files).map(({ purl, license }) => [purl.replace(/@[\d.]+$/, ''), license]);
    assert.deepEqual(found, [
      ['pkg:npm/zod', 'MIT'],
      ['pkg:npm/%40aws-sdk/core', 'Apache-2.0'],
    ]);
  });
});

test('the bill of materials lists every component with its package URL and license', () => {
  const product = { name: 'ecs-discovery', version: '1.2.3', license: 'Apache-2.0' };
  const bill = billOfMaterials(product, [component('b', {}), component('a', {})]);
  assert.equal(bill.metadata.component.purl, 'pkg:npm/ecs-discovery@1.2.3');
  assert.deepEqual(bill.dependencies[0]?.dependsOn, ['pkg:cargo/a@1.0.0', 'pkg:cargo/b@1.0.0']);
  assert.deepEqual(bill.components[0]?.licenses, [{ expression: 'MIT' }]);
});
