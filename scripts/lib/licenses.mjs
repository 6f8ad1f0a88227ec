// @ts-check
/**
 * What is compiled into the package: crates in the handler, and npm packages in its scripts. Their licenses demand that
 * these are passed on.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { capture, root } from './commands.mjs';
import { Failure } from './failure.mjs';

/**
 * @typedef {object} Component
 * @property {string} name
 * @property {string} version
 * @property {string} license its SPDX expression
 * @property {string} purl its package URL, which identifies it in bills of materials
 * @property {string} folder where its files are
 */

/** The files with a license or with what it demands to be passed on. */
const FILE = /^(licen[cs]e|copying|copyright|notice|unlicense)[^.]*(\.(txt|md|apache|mit|apache-2\.0))?$/i;

/**
 * The crates that are linked into the handler for an architecture, without those of build scripts, macros and tests.
 *
 * @param {string} architecture of Rust, like `x86_64`
 * @returns {Promise<Component[]>}
 */
export async function crates(architecture) {
  const platform = `${architecture}-unknown-linux-gnu`;
  const format = ['--edges', 'normal,no-proc-macro', '--prefix', 'none', '--format', '{p}'];
  const tree = await cargo(['tree', '--locked', '--package', 'handler', '--target', platform, ...format]);
  const linked = new Set([...tree.matchAll(/^(\S+) v(\S+)/gm)].map(([, name, version]) => `${name} ${version}`));
  const metadata = await cargo(['metadata', '--locked', '--format-version', '1', '--filter-platform', platform]);
  /** @type {{ packages: { name: string, version: string, license: string | null, manifest_path: string }[] }} */
  const { packages } = JSON.parse(metadata);
  return packages
    .filter(({ name, version }) => name !== 'handler' && linked.has(`${name} ${version}`))
    .map(({ name, version, license, manifest_path: manifest }) => {
      const purl = `pkg:cargo/${name}@${version}`;
      return { name, version, license: expression(license), purl, folder: path.dirname(manifest) };
    });
}

/** @param {string[]} args */
async function cargo(args) {
  const { status, stdout, stderr } = await capture('cargo', args);
  if (status !== 0) throw new Failure(`cargo could not list the crates of the handler.\n${stderr}`);
  return stdout;
}

/**
 * Older packages separate alternatives with a slash.
 *
 * @param {unknown} license
 */
function expression(license) {
  if (typeof license !== 'string') throw new Failure(`A package has the license ${JSON.stringify(license)}.`);
  return license.replace(/\s*\/\s*/g, ' OR ');
}

/**
 * The npm packages to which files belong.
 *
 * @param {Iterable<string>} files relative to the checkout
 * @returns {Component[]}
 */
export function npmPackages(files) {
  /** @type {Map<string, Component>} */
  const found = new Map();
  for (const file of files) {
    const folder = /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(file)?.[0];
    if (folder === undefined || found.has(folder)) continue;
    const { name, version, license } = JSON.parse(readFileSync(path.join(root, folder, 'package.json'), 'utf8'));
    const purl = `pkg:npm/${String(name).replace('@', '%40')}@${version}`;
    found.set(folder, { name, version, license: expression(license), purl, folder: path.join(root, folder) });
  }
  return [...found.values()];
}

/**
 * A text with every component, its license, and each different license text once.
 *
 * @param {string} title
 * @param {Component[]} components
 */
export function notices(title, components) {
  const key = (/** @type {Component} */ { name, version }) => `${name} ${version}`;
  const sorted = [...components].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  /** @type {Map<string, string[]>} */
  const texts = new Map();
  const list = sorted.map((component) => {
    const { folder, license } = component;
    const files = readdirSync(folder, { withFileTypes: true }).filter((file) => file.isFile() && FILE.test(file.name));
    for (const { name } of files.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const text = readFileSync(path.join(folder, name), 'utf8').replaceAll('\r\n', '\n').trimEnd();
      texts.set(text, [...(texts.get(text) ?? []), key(component)]);
    }
    return `${key(component)}: ${license}${files.length === 0 ? ', without a license text of its own' : ''}`;
  });
  const blocks = [...texts].map(([text, of]) => `${'-'.repeat(80)}\nFor ${of.join(', ')}:\n\n${text}`);
  return `${[title, list.join('\n'), ...blocks].join('\n\n')}\n`;
}

/**
 * A bill of materials in the format of CycloneDX.
 *
 * @param {{ name: string, version: string, license: string }} product
 * @param {Component[]} components
 */
export function billOfMaterials({ name, version, license }, components) {
  const described = (/** @type {Omit<Component, 'folder'>} */ { name, version, license, purl }) => {
    return { type: 'library', 'bom-ref': purl, name, version, licenses: [{ expression: license }], purl };
  };
  const parts = components.map(described).sort((a, b) => (a.purl < b.purl ? -1 : 1));
  const product = described({ name, version, license, purl: `pkg:npm/${name}@${version}` });
  const dependsOn = parts.map(({ purl }) => purl);
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { component: { ...product, type: 'application' } },
    components: parts,
    dependencies: [{ ref: product.purl, dependsOn }],
  };
}
