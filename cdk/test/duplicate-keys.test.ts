import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { checkKeysOnce } from '../lib/duplicate-keys.js';
import { EnvironmentError } from '../lib/environment-error.js';
import { root } from './stacks.js';

const check = (text: string) => () => {
  checkKeysOnce(text, 'cdk.json');
};

test('a key that an object has twice is an error with its path and its lines', () => {
  const text = `{
  "context": {
    "environments": {
      "dev": { "ttlSeconds": 5 },
      "test": { "vpcs": [{ "vpcId": "vpc-1", "zoneName": "a", "vpcId": "vpc-2" }] },
      "dev": { "ttlSeconds": 10 }
    }
  }
}`;
  expect(check(text)).toThrow(EnvironmentError);
  expect(check(text)).toThrow(
    [
      'cdk.json is invalid:',
      '  context.environments.dev: expected each key once; found it in line 4, and again in line 6',
      '  context.environments.test.vpcs.0.vpcId: expected each key once; found it in line 5, and again in line 5',
    ].join('\n'),
  );
});

test('the same key in several objects is valid, and so is a text that is no JSON, which others report', () => {
  expect(check('{ "a": { "b": 1 }, "c": [{ "b": 1 }, { "b": 2 }] }')).not.toThrow();
  expect(check('{ "a": ')).not.toThrow();
  expect(check('')).not.toThrow();
});

test("the project's own cdk.json has each key once", () => {
  expect(check(readFileSync(path.join(root, 'cdk.json'), 'utf8'))).not.toThrow();
});
