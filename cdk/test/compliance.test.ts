/** Compares the table of `docs/compliance.md` with the findings of cdk-nag's packs. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks } from 'cdk-nag';
import { expect, test } from 'vitest';
import { KEY, root, stack } from './stacks.js';

/** The options in the column `removed by`. */
const OPTIONS: Record<string, object> = {
  kmsKeyArn: { kmsKeyArn: KEY },
  'trail: existing': { trail: 'existing' },
  reservedConcurrency: { reservedConcurrency: 5 },
  alarmTopicArn: { alarmTopicArn: 'arn:aws:sns:eu-west-1:111122223333:oncall' },
  'alarms: false': { alarms: false },
};

/** Each finding as its pack, its rule and its resource, like `HIPAA LambdaInsideVPC Handler/Function`. */
function findings(options: object): string[] {
  const made = stack(options);
  const packs = { NIST: new NIST80053R5Checks(), HIPAA: new HIPAASecurityChecks(), PCI: new PCIDSS321Checks() };
  const found = Object.entries(packs).flatMap(([pack, checks]) =>
    checks.validateScope(made).violations.flatMap(({ ruleName, violatingResources }) =>
      violatingResources.map(({ constructPath }) => {
        const resource = constructPath?.replace('EcsDiscovery-dev/Discovery/', '').replace('/Resource', '');
        return `${pack} ${ruleName.replace(/^.*-/, '')} ${resource?.replace(/^Alarms\/.*/, 'Alarms/*') ?? ''}`;
      }),
    ),
  );
  return [...new Set(found)].sort();
}

const text = readFileSync(path.join(root, 'docs/compliance.md'), 'utf8');
const code = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name ?? '');

/** The table: each finding with the options that remove it. */
const documented = text
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .flatMap((line) => {
    const cells = line.split('|').map((cell) => cell.trim());
    const [, rule = '', packs = '', resources = '', removedBy = '', reason = ''] = cells;
    expect(reason.length).toBeGreaterThan(40);
    return packs.split(', ').flatMap((pack) =>
      code(resources).map((resource) => ({
        finding: `${pack} ${code(rule).join()} ${resource}`,
        removedBy: code(removedBy),
      })),
    );
  });

test('the table lists every finding of the packs on the default stack, and no other', () => {
  expect(findings({})).toEqual(documented.map(({ finding }) => finding).sort());
  expect(documented.length).toBeGreaterThan(30);
});

test.each(Object.entries(OPTIONS))(
  '%s removes the findings for which the table names it, and no other',
  (name, options) => {
    const left = documented.filter(({ removedBy }) => !removedBy.includes(name));
    expect(left.length).toBeLessThan(documented.length);
    expect(findings(options)).toEqual(left.map(({ finding }) => finding).sort());
  },
);

test('the table names no other options', () => {
  expect(documented.flatMap(({ removedBy }) => removedBy).filter((name) => !(name in OPTIONS))).toEqual([]);
});

test('removalPolicy destroy adds the finding below the table', () => {
  const known = documented.map(({ finding }) => finding);
  const added = findings({ removalPolicy: 'destroy' }).filter((finding) => !known.includes(finding));
  const [resource, rule] = code(text.split('\nWith `removalPolicy` set to `destroy`')[1] ?? '');
  expect(added).toEqual(['HIPAA', 'NIST', 'PCI'].map((pack) => `${pack} ${rule ?? ''} ${resource ?? ''}`));
});
