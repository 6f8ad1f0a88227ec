/** The code of the handler: from this package, built from its sources in a checkout, or a prebuilt folder. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { FileAssetPackaging, FileSystem, Stack, Stage } from 'aws-cdk-lib';
import { Code, type CodeConfig } from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import { parse, type TomlTable } from 'smol-toml';
import { EnvironmentError, show } from './environment-error.js';
import { HandlerBuild } from './properties.js';

const HERE = path.dirname(fileURLToPath(import.meta.url));

/** The root of the checkout. */
const WORKSPACE = path.resolve(HERE, '../..');

/** In the package that others install: an archive with the handler for each architecture. */
const PACKAGED = path.join(HERE, 'handler');

/** Builds the handler for the architecture that follows, and prints the path of an archive with it. */
const BUILD = path.join(WORKSPACE, 'scripts/build-handler.mjs');

/** The code of the handler, with a hash that is the same on every machine. */
export interface HandlerCode {
  readonly code: Code;
  readonly hash: string;
}

/** @throws EnvironmentError if the folder contains no handler, or if the handler cannot be built */
export function handlerCode(
  architecture: string,
  folder: unknown,
  build: unknown = HandlerBuild.DEPLOYMENT,
): HandlerCode {
  const builds = Object.values(HandlerBuild);
  if (!builds.some((known) => known === build)) {
    throw new EnvironmentError(
      `buildHandler: expected ${builds.map((known) => `"${known}"`).join(' or ')}; found ${show(build)}`,
    );
  }
  if (folder !== undefined) {
    const prebuilt = parseHandlerCode(folder);
    return { code: Code.fromAsset(prebuilt), hash: FileSystem.fingerprint(prebuilt) };
  }
  if (existsSync(PACKAGED)) {
    const archive = packaged(architecture);
    return { code: Code.fromAsset(archive), hash: FileSystem.fingerprint(archive) };
  }
  const hash = sourceHash(architecture);
  const archive = build === HandlerBuild.SYNTHESIS ? buildNow(architecture) : undefined;
  return { code: new CodeFromSources(architecture, hash, archive), hash };
}

/** @throws EnvironmentError if the package has no handler for the architecture */
export function packaged(architecture: string, folder = PACKAGED): string {
  const archive = path.join(folder, `${architecture}.zip`);
  if (existsSync(archive)) return archive;
  const names = readdirSync(folder).map((file) => JSON.stringify(path.parse(file).name));
  throw new EnvironmentError(
    `architecture: expected ${names.join(' or ')}, for which this package contains the handler, or a handler of your own as handlerCode; found ${show(architecture)}`,
  );
}

/**
 * Validates `handlerCode`: a folder that contains the file `bootstrap`.
 *
 * @throws EnvironmentError if the folder contains no such file
 */
function parseHandlerCode(folder: unknown): string {
  const isPrebuilt = (folder: string) =>
    statSync(path.join(folder, 'bootstrap'), { throwIfNoEntry: false })?.isFile() === true;
  if (typeof folder === 'string' && isPrebuilt(folder)) return folder;
  throw new EnvironmentError(
    `handlerCode: expected a folder that contains the file bootstrap; found no such file in ${show(folder)}, so build the handler into this folder, or omit handlerCode`,
  );
}

/**
 * The handler from its sources. Its key in the bucket is the hash of the sources, whenever it is built.
 *
 * Without an archive, the CDK's command line runs the build, unless the bucket already has this key.
 */
class CodeFromSources extends Code {
  public readonly isInline = false;

  constructor(
    private readonly architecture: string,
    private readonly hash: string,
    private readonly archive: string | undefined,
  ) {
    super();
  }

  bind(scope: Construct): CodeConfig {
    const { bucketName, objectKey } = Stack.of(scope).synthesizer.addFileAsset({
      sourceHash: this.hash,
      ...(this.archive === undefined
        ? { executable: ['node', BUILD, this.architecture] }
        : { fileName: this.copy(scope, this.archive), packaging: FileAssetPackaging.FILE }),
    });
    return { s3Location: { bucketName, objectKey } };
  }

  /** Copies the archive into the output of synthesis, which then needs nothing else. */
  private copy(scope: Construct, archive: string): string {
    // The CDK would add what follows a dot to the key.
    const name = `asset-${this.hash}`;
    const stage = Stage.of(scope);
    copyFileSync(archive, path.join(stage?.assetOutdir ?? '', name));
    // The CDK reads it relative to the folder of the stage.
    return path.join(path.relative(stage?.outdir ?? '', stage?.assetOutdir ?? ''), name);
  }
}

/** The archives of this process, by architecture. Most apps have several stacks with the same one. */
const archives = new Map<string, string>();

function buildNow(architecture: string): string {
  const made = archives.get(architecture);
  if (made !== undefined) return made;
  const { status, stdout } = spawnSync('node', [BUILD, architecture], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  // The command has said why.
  if (status !== 0) throw new EnvironmentError('The handler could not be built.');
  archives.set(architecture, stdout.trim());
  return stdout.trim();
}

/**
 * A hash of the architecture and of everything from which cargo-lambda builds the handler: sources, dependencies,
 * profile, toolchain and flags.
 *
 * A hash of the binary would change from one machine to another, even if the sources are the same.
 */
export function sourceHash(architecture: string, workspace = WORKSPACE): string {
  const hash = createHash('sha256').update(architecture);
  // Git may check out other line endings.
  const read = (file: string) => readFileSync(path.join(workspace, file), 'utf8').replaceAll('\r\n', '\n');
  const toml = (file: string) => parse(read(file)) as Toml;
  const add = (name: string, text: string) => hash.update(`\0${name}\0${text}`);

  const sources = readdirSync(path.join(workspace, 'handler/src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.rs'))
    .map((file) => `handler/src/${file.split(path.sep).join('/')}`);
  for (const file of ['rust-toolchain.toml', 'scripts/build-handler.mjs', ...sources].sort()) add(file, read(file));
  const tools = read('scripts/requirements.txt').match(/^(cargo-lambda|ziglang)==\S+/gm) ?? [];
  add('tools', tools.join('\n'));

  const { dependencies = {}, ...manifest } = toml('handler/Cargo.toml');
  delete manifest['dev-dependencies'];
  delete manifest.bench;
  add('handler/Cargo.toml', JSON.stringify({ ...manifest, dependencies }));
  const { workspace: shared, profile } = toml('Cargo.toml');
  const direct = Object.keys(dependencies);
  const versions = direct.map((name) => [name, shared?.dependencies?.[name]]);
  add('Cargo.toml', JSON.stringify({ package: shared?.package, versions, release: profile?.release }));
  add('Cargo.lock', JSON.stringify(locked(toml('Cargo.lock').package ?? [], direct)));
  return hash.digest('hex');
}

/** The parts of Cargo's files that the hash reads. */
type Toml = TomlTable & {
  dependencies?: Record<string, unknown>;
  workspace?: { package?: unknown; dependencies?: Record<string, unknown> };
  profile?: { release?: unknown };
  package?: LockedPackage[];
};

interface LockedPackage {
  name: string;
  version: string;
  checksum?: string;
  /** Each with its version if there are several: `name` or `name version`. */
  dependencies?: string[];
}

/** The packages that the given ones need, directly or not, without those of tests. */
function locked(packages: readonly LockedPackage[], direct: readonly string[]): LockedPackage[] {
  const needed = new Set<LockedPackage>();
  const handler = packages.find(({ name }) => name === 'handler');
  const pending = (handler?.dependencies ?? []).filter((one) => direct.includes(one.split(' ')[0] ?? one));
  for (const reference of pending) {
    const [name, version] = reference.split(' ');
    const found = packages.find((one) => one.name === name && (version === undefined || one.version === version));
    if (found === undefined || needed.has(found)) continue;
    needed.add(found);
    pending.push(...(found.dependencies ?? []));
  }
  // `localeCompare` depends on the language of the machine.
  const key = ({ name, version }: LockedPackage) => `${name} ${version}`;
  return [...needed].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}
