import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Stack, Stage } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ServiceDiscoveryStack } from '../lib/discovery-stack.js';
import { parseEnvironments } from '../lib/parse-environments.js';
import { handlerCode, sourceHash } from '../lib/handler-code.js';
import { EcsServiceDiscovery, HandlerBuild, TrailSource } from '../lib/index.js';
import { app, environment, root, template, vpc } from './stacks.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'discovery-code-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** The handler's code in a template, and the property of the deployment's full pass that depends on it. */
function deployed(made: Template) {
  const functions = made.findResources('AWS::Lambda::Function', { Properties: { Runtime: 'provided.al2023' } });
  const passes = made.findResources('Custom::EcsDiscoveryFullPass');
  const [handler] = Object.values(functions) as { Properties: { Code: { S3Key: string } } }[];
  const [fullPass] = Object.values(passes) as { Properties: { Generation: string } }[];
  return { asset: handler?.Properties.Code.S3Key, generation: fullPass?.Properties.Generation };
}

describe('a prebuilt handler', () => {
  function prebuilt(handlerCode: string): Template {
    const stack = new Stack(app(), 'Shop', { env: { region: 'eu-west-1' } });
    const vpcs = [{ vpc: vpc(stack), zoneName: 'shop.internal' }];
    const trail = TrailSource.EXISTING;
    new EcsServiceDiscovery(stack, 'Discovery', { environment: 'shop', vpcs, trail, handlerCode });
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
    expect(after.generation).not.toEqual(before.generation);
  });

  test.each(['empty', 'missing', ''])('is rejected if its folder has no bootstrap: "%s"', (name) => {
    mkdirSync(path.join(folder, 'empty'));
    const given = name === '' ? '' : path.join(folder, name);
    expect(() => prebuilt(given)).toThrow(
      `handlerCode: expected a folder that contains the file bootstrap; found no such file in "${given}", so build the handler into this folder, or omit handlerCode`,
    );
  });
});

describe('a handler that is built from its sources', () => {
  /** The command in the list of assets that the CDK runs to get the handler. */
  function builder(architecture: string): string[] {
    const made = app();
    for (const [name, data] of Object.entries(parseEnvironments({ dev: { ...environment, architecture } }))) {
      new ServiceDiscoveryStack(made, name, data);
    }
    const assembly = made.synth().directory;
    const { files } = JSON.parse(readFileSync(path.join(assembly, 'EcsDiscovery-dev.assets.json'), 'utf8')) as {
      files: Record<string, { source: { executable?: string[] } }>;
    };
    return files[sourceHash(architecture)]?.source.executable ?? [];
  }

  test('is built when the CDK publishes it, so that synthesis needs no Rust', () => {
    const script = path.join(root, 'scripts/build-handler.mjs');
    expect(builder('arm64')).toEqual(['node', script, 'arm64']);
    expect(builder('x86_64')).toEqual(['node', script, 'x86_64']);
  });

  test('cannot be built without cargo-lambda, and the error says what to do', () => {
    const cargo = path.join(folder, 'cargo');
    writeFileSync(cargo, '#!/bin/sh\necho "no such command: lambda" >&2\nexit 101\n', { mode: 0o755 });
    // The script prefers the project's own tools.
    mkdirSync(path.join(folder, 'scripts'));
    for (const part of [
      'scripts/lib',
      'scripts/build-handler.mjs',
      'scripts/requirements.txt',
      'rust-toolchain.toml',
    ]) {
      cpSync(path.join(root, part), path.join(folder, part), { recursive: true });
    }
    const { status, stdout, stderr } = spawnSync('node', [path.join(folder, 'scripts/build-handler.mjs'), 'arm64'], {
      encoding: 'utf8',
      env: { ...process.env, PATH: `${folder}:${process.env.PATH ?? ''}` },
    });
    expect(stderr).toContain('The handler cannot be built, because cargo-lambda is missing.');
    expect(stderr).toContain('`npm run setup`');
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });

    // With another version the binary would differ from one with the same hash.
    writeFileSync(cargo, '#!/bin/sh\necho "cargo-lambda 1.0.0"\n', { mode: 0o755 });
    const other = spawnSync('node', [path.join(folder, 'scripts/build-handler.mjs'), 'arm64'], {
      encoding: 'utf8',
      env: { ...process.env, PATH: `${folder}:${process.env.PATH ?? ''}` },
    });
    expect(other.stderr).toMatch(/because cargo-lambda is 1\.0\.0 instead of \d+\.\d+\.\d+\. Install it with/);
    expect(other.status).toBe(1);
  });

  test('has the same hash whatever the language of the machine', () => {
    const code = `import { sourceHash } from '${path.join(root, 'cdk/lib/handler-code.ts')}'; console.log(sourceHash('arm64'));`;
    const hashes = ['C', 'cs_CZ.UTF-8', 'da_DK.UTF-8'].map((LC_ALL) => {
      const run = spawnSync(path.join(root, 'node_modules/.bin/tsx'), ['--input-type=module', '-e', code], {
        encoding: 'utf8',
        env: { ...process.env, LC_ALL },
      });
      return run.stdout.trim() || run.stderr;
    });
    expect(new Set(hashes)).toEqual(new Set([sourceHash('arm64')]));
  });

  test('can be built during synthesis, so that its archive is a part of the output', () => {
    const cargo = path.join(folder, 'cargo');
    const rust = /^channel = "(.*)"/m.exec(readFileSync(path.join(root, 'rust-toolchain.toml'), 'utf8'))?.[1];
    writeFileSync(path.join(folder, 'rustc'), `#!/bin/sh\necho "rustc ${rust}"\n`, { mode: 0o755 });
    const version = /^cargo-lambda==(\S+)/m.exec(readFileSync(path.join(root, 'scripts/requirements.in'), 'utf8'))?.[1];
    // It writes its arguments into the archive.
    const script = `if [ "$2" = --version ]; then echo "cargo-lambda ${version}"; exit; fi
while [ "$1" != --lambda-dir ] && [ $# -gt 0 ]; do all="$all $1"; shift; done
[ $# -gt 0 ] && mkdir -p "$2/handler" && echo "$all" > "$2/handler/bootstrap.zip"
`;
    writeFileSync(cargo, `#!/bin/sh\n${script}`, { mode: 0o755 });
    const before = process.env.PATH;
    process.env.PATH = `${folder}:${before ?? ''}`;
    try {
      const made = app();
      const environments = parseEnvironments({ dev: { ...environment, architecture: 'arm64' } });
      for (const [name, data] of Object.entries(environments)) {
        new ServiceDiscoveryStack(made, name, data, { buildHandler: HandlerBuild.SYNTHESIS });
      }
      const output = made.synth();
      const hash = sourceHash('arm64');
      expect(readFileSync(path.join(output.directory, `asset-${hash}`), 'utf8')).toBe(
        ' lambda build --release --locked --arm64 --bin handler --output-format zip\n',
      );
      // In a stage of the app, the archive is in the same folder.
      const staged = app();
      const [first] = Object.values(environments);
      if (first === undefined) throw new Error('no environment');
      new ServiceDiscoveryStack(new Stage(staged, 'Prod'), 'dev', first, { buildHandler: HandlerBuild.SYNTHESIS });
      const nested = staged.synth().getNestedAssembly('assembly-Prod').directory;
      const assets = readdirSync(nested).find((file) => file.endsWith('.assets.json')) ?? '';
      const { files } = JSON.parse(readFileSync(path.join(nested, assets), 'utf8')) as {
        files: Record<string, { source: { path?: string } }>;
      };
      expect(readFileSync(path.join(nested, files[hash]?.source.path ?? ''), 'utf8')).toContain('lambda build');
      // The key does not depend on when the handler is built.
      expect(deployed(Template.fromJSON(output.getStackByName('EcsDiscovery-dev').template as object)).asset).toBe(
        hash,
      );
    } finally {
      process.env.PATH = before;
    }
  });

  test('is built at deployment or during synthesis', () => {
    expect(() => handlerCode('arm64', undefined, 'now')).toThrow(
      'buildHandler: expected "deployment" or "synthesis"; found "now"',
    );
  });
});

describe('the hash of the sources', () => {
  test('decides the asset and the generation, and is different for each architecture', () => {
    const { asset, generation } = deployed(template());
    expect(asset).toBe(sourceHash('x86_64'));
    const longer = deployed(template({ ttlSeconds: 5 }));
    expect(longer.asset).toEqual(asset);
    expect(longer.generation).not.toEqual(generation);
    const other = deployed(template({ architecture: 'arm64' }));
    expect(other.asset).toBe(sourceHash('arm64'));
    expect(other.asset).not.toEqual(asset);
    expect(other.generation).not.toEqual(generation);
  });

  /** Whether the hash changes if the text of one file changes. */
  function changes(file: string, change: (text: string) => string): boolean {
    for (const name of ['Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml', 'handler', 'scripts']) {
      cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
    }
    const before = sourceHash('x86_64', folder);
    expect(before).toBe(sourceHash('x86_64'));
    const changed = path.join(folder, file);
    const text = existsSync(changed) ? readFileSync(changed, 'utf8') : '';
    expect(change(text)).not.toBe(text);
    mkdirSync(path.dirname(changed), { recursive: true });
    writeFileSync(changed, change(text));
    return sourceHash('x86_64', folder) !== before;
  }
  const append = (text: string) => `${text}\n# changed\n`;
  const replace = (found: string | RegExp, by: string) => (text: string) => text.replace(found, by);

  test.each([
    ['the toolchain', 'rust-toolchain.toml', append],
    ['a source file', 'handler/src/domain/plan.rs', append],
    ['a new source file', 'handler/src/aws/new.rs', append],
    ['the flags of the build', 'scripts/build-handler.mjs', append],
    ['the version of cargo-lambda', 'scripts/requirements.txt', replace(/^cargo-lambda==/m, 'cargo-lambda==9.')],
    ['the release profile', 'Cargo.toml', replace('lto = "fat"', 'lto = "thin"')],
    ['a feature of a dependency', 'handler/Cargo.toml', replace('"raw_value"', '"preserve_order"')],
    ['a version that the workspace requires', 'Cargo.toml', replace('tokio = { version = "', 'tokio = { version = "9')],
    ['a locked dependency', 'Cargo.lock', replace(/(name = "tokio"\nversion = )"[^"]*"/, '$1"9.9.9"')],
    ['a locked dependency of a dependency', 'Cargo.lock', replace(/(name = "rustls"\nversion = )"[^"]*"/, '$1"9.9.9"')],
  ])('changes with %s', (_what, file, change) => {
    expect(changes(file, change)).toBe(true);
  });

  test.each([
    ['the other packages of the workspace', 'Cargo.toml', replace('"tests/scenarios",', '')],
    ['a requirement of tests', 'Cargo.toml', replace(/^insta = .*$/m, 'insta = "9"')],
    ['a dependency of tests', 'handler/Cargo.toml', replace(/^proptest = .*$/m, 'proptest = "9"')],
    ['a locked dependency of tests', 'Cargo.lock', replace(/(name = "proptest"\nversion = )"[^"]*"/, '$1"9.9.9"')],
    ['comments in the manifests', 'Cargo.toml', append],
    ['line endings', 'handler/src/domain/plan.rs', replace(/\n/g, '\r\n')],
  ])('does not change with %s', (_what, file, change) => {
    expect(changes(file, change)).toBe(false);
  });
});
