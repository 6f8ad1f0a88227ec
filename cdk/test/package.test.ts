import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import ts from 'typescript';
import { afterAll, describe, expect, test } from 'vitest';
import packageJson from '../../package.json' with { type: 'json' };
import { cdkIsAtLeast, LEAST_CDK, requireCdk } from '../lib/cdk-version.js';
import { packaged } from '../lib/handler-code.js';
import { root } from './stacks.js';

const folder = mkdtempSync(path.join(tmpdir(), 'package-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe('a package', () => {
  test('has the handler of an architecture, or names the ones that it has', () => {
    writeFileSync(path.join(folder, 'x86_64.zip'), '');
    expect(packaged('x86_64', folder)).toBe(path.join(folder, 'x86_64.zip'));
    expect(() => packaged('arm64', folder)).toThrow(
      'architecture: expected "x86_64", for which this package contains the handler, or a handler of your own as handlerCode; found "arm64"',
    );
  });

  test('accepts the versions of the CDK in its peer dependencies, and refuses an older one in words', () => {
    expect(packageJson.peerDependencies['aws-cdk-lib']).toBe(`^${LEAST_CDK}`);
    expect(() => {
      requireCdk('2.199.9');
    }).toThrow('ecs-discovery needs aws-cdk-lib 2.200.0 or later; found 2.199.9.');
    requireCdk('2.200.0');
    requireCdk();
    expect(cdkIsAtLeast('2.270.0', '2.269.3')).toBe(false);
    expect(cdkIsAtLeast('2.270.0', '3.0.0')).toBe(true);
  });

  test('has the same version as the handler', () => {
    const cargo = readFileSync(path.join(import.meta.dirname, '../../Cargo.toml'), 'utf8');
    expect(/^version = "(.*)"/m.exec(cargo)?.[1]).toBe(packageJson.version);
  });

  test('installs nothing besides itself', () => {
    expect(packageJson).not.toHaveProperty('dependencies');
  });

  test('declares types that need no other packages, and that jsii knows', () => {
    const host = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined };
    const config = ts.getParsedCommandLineOfConfigFile(path.join(root, 'tsconfig.package.json'), {}, host);
    if (config === undefined) throw new Error('no configuration');
    const declarations = new Map<string, string>();
    ts.createProgram(config.fileNames, config.options).emit(undefined, (file, text) => {
      declarations.set(path.basename(file), text);
    });
    const used = new Set(['index.d.ts']);
    const packages = new Set<string>();
    for (const file of used) {
      const text = declarations.get(file);
      if (text === undefined) throw new Error(`no ${file}`);
      expect(text).not.toMatch(/\b(Readonly|Partial|Pick|Omit)</);
      for (const [, name = ''] of text.matchAll(/\b(?:from |import\()['"]([^'"]+)['"]/g)) {
        if (name.startsWith('.')) used.add(path.basename(name, '.js') + '.d.ts');
        else packages.add(name.split('/')[0] ?? '');
      }
    }
    expect(used.size).toBeGreaterThan(5);
    expect([...packages].sort()).toEqual(Object.keys(packageJson.peerDependencies).sort());
  });
});
