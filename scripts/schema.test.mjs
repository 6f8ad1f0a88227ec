// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describedSchema, descriptions } from './lib/schema.mjs';

test('the schema for editors has a description, a type and the default of each option', async () => {
  /** @type {any} */
  const schema = await describedSchema();
  const environment = schema.properties.context.properties.environments.additionalProperties;
  const { vpcs, ttlSeconds, mode } = environment.properties;
  for (const [name, rule] of Object.entries({ ...environment.properties, ...vpcs.items.properties })) {
    assert.match(rule.description ?? '', /\w/, name);
  }
  assert.deepEqual(environment.required, ['account', 'region', 'vpcs', 'trail']);
  assert.equal(environment.additionalProperties, false);
  const { description, ...ttl } = ttlSeconds;
  assert.equal(description, 'the TTL of CNAME records, 1 to 86,400 seconds');
  assert.deepEqual(ttl, { default: 60, type: 'integer', minimum: 1, maximum: 86_400 });
  assert.deepEqual(mode.enum, ['observe', 'create-and-update', 'sync']);
});

test('a description has no links, and comes from the first table with the option', () => {
  const document = '| `a`, `b` | 1 | see [the page](page.md) |\n| `b` | 2 | another table |\n| c | 3 | no option |';
  assert.deepEqual(
    [...descriptions(document)],
    [
      ['a', 'see the page'],
      ['b', 'see the page'],
    ],
  );
});
