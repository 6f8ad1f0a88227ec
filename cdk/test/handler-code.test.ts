import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sourceHash } from '../lib/handler-code.js';
import { EcsServiceDiscovery } from '../lib/index.js';
import { app, root, template, VPC } from './stacks.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'discovery-code-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** The handler of a template, and the property of the deployment's full pass that depends on the code. */
function deployed(made: Template) {
  const functions = made.findResources('AWS::Lambda::Function', { Properties: { Runtime: 'provided.al2023' } });
  const passes = made.findResources('Custom::EcsDiscoveryFullPass');
  const [handler] = Object.values(functions) as { Properties: { Code: { S3Key: string } } }[];
  const [fullPass] = Object.values(passes) as { Properties: { Code: string } }[];
  return { asset: handler?.Properties.Code.S3Key, code: fullPass?.Properties.Code };
}

describe('a prebuilt handler', () => {
  function prebuilt(handlerCode: string): Template {
    const stack = new Stack(app(), 'Shop', { env: { region: 'eu-west-1' } });
    const vpcs = [{ vpcId: VPC, zoneName: 'shop.internal' }];
    new EcsServiceDiscovery(stack, 'Discovery', { environment: 'shop', vpcs, handlerCode });
    return Template.fromStack(stack);
  }

  test('is deployed from its folder, with the properties of a handler that the CDK builds', () => {
    writeFileSync(path.join(folder, 'bootstrap'), 'a binary');
    const functions = (made: Template) =>
      Object.values(made.findResources('AWS::Lambda::Function', { Properties: { Runtime: 'provided.al2023' } }));
    const properties = (made: Template) => {
      const [{ Properties } = { Properties: {} }] = functions(made) as { Properties: Record<string, unknown> }[];
      const { Code, Description, Environment, LoggingConfig, Role, ...same } = Properties;
      expect([Code, Description, Environment, LoggingConfig, Role]).not.toContain(undefined);
      return same;
    };
    const made = prebuilt(folder);
    expect(functions(made)).toHaveLength(1);
    expect(properties(made)).toEqual(properties(template()));
    made.hasResourceProperties('AWS::Lambda::Function', {
      Handler: 'bootstrap',
      Code: { S3Key: Match.stringLikeRegexp('^[0-9a-f]{64}\\.zip$') },
    });
  });

  test('that changes is deployed again, with a full pass', () => {
    writeFileSync(path.join(folder, 'bootstrap'), 'a binary');
    const before = deployed(prebuilt(folder));
    expect(deployed(prebuilt(folder))).toEqual(before);
    writeFileSync(path.join(folder, 'bootstrap'), 'another binary');
    const after = deployed(prebuilt(folder));
    expect(after.asset).not.toEqual(before.asset);
    expect(after.code).not.toEqual(before.code);
  });

  test.each(['empty', 'missing', ''])('is rejected if its folder has no bootstrap: "%s"', (name) => {
    mkdirSync(path.join(folder, 'empty'));
    const given = name === '' ? '' : path.join(folder, name);
    expect(() => prebuilt(given)).toThrow(
      `handlerCode: expected a folder that contains the file bootstrap; found no such file in "${given}", so build the handler into this folder, or omit handlerCode`,
    );
  });
});

describe('the hash of the sources', () => {
  test('decides the asset and the full pass, and is different for each architecture', () => {
    const { asset, code } = deployed(template());
    expect(asset).toMatch(/^[0-9a-f]{64}\.zip$/);
    expect(code).toBe(sourceHash('x86_64'));
    expect(deployed(template({ ttlSeconds: 5 }))).toEqual({ asset, code });
    const other = deployed(template({ architecture: 'arm64' }));
    expect(other.asset).not.toEqual(asset);
    expect(other.code).toBe(sourceHash('arm64'));
    expect(other.code).not.toEqual(code);
  });

  test.each([
    'Cargo.toml',
    'Cargo.lock',
    'rust-toolchain.toml',
    'handler/Cargo.toml',
    'handler/src/main.rs',
    'handler/src/domain/plan.rs',
    'handler/src/domain/plan/tests.rs',
    'handler/src/aws/ecs.rs',
  ])('covers %s', (file) => {
    for (const name of ['Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml', 'handler/Cargo.toml', 'handler/src']) {
      cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
    }
    const before = sourceHash('x86_64', folder);
    expect(before).toBe(sourceHash('x86_64'));
    mkdirSync(path.dirname(path.join(folder, file)), { recursive: true });
    writeFileSync(path.join(folder, file), '// changed');
    expect(sourceHash('x86_64', folder)).not.toBe(before);
  });
});
