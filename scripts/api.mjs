// @ts-check
/** `npm run api`: writes the reference of the construct, `docs/api.md`, from its types and their comments. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Application } from 'typedoc';
import { readArguments } from './lib/arguments.mjs';
import { root, run } from './lib/commands.mjs';
import { Failure } from './lib/failure.mjs';

const USAGE = `usage: npm run api [-- --check]

Writes docs/api.md from the types of the construct.

  --check  writes nothing, and fails if the file is outdated`;

const HEAD = `# API reference

All types that the package exports. \`npm run api\` generates this page. [configuration.md](configuration.md) explains the
options, and has examples.
`;

const { values } = readArguments(USAGE, { check: { type: 'boolean' } });

await run(async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'api-'));
  try {
    const app = await Application.bootstrapWithPlugins({
      entryPoints: [path.join(root, 'cdk/lib/index.ts')],
      tsconfig: path.join(root, 'tsconfig.package.json'),
      plugin: ['typedoc-plugin-markdown'],
      out: folder,
      readme: 'none',
      excludeExternals: true,
      excludePrivate: true,
      disableSources: true,
      logLevel: 'Warn',
      treatWarningsAsErrors: true,
      .../** @type {object} */ ({
        outputFileStrategy: 'modules',
        hidePageHeader: true,
        hideBreadcrumbs: true,
        parametersFormat: 'table',
        interfacePropertiesFormat: 'table',
        enumMembersFormat: 'table',
        tableColumnSettings: { hideInherited: true, hideModifiers: true, hideOverrides: true },
        useHTMLAnchors: false,
      }),
    });
    const project = await app.convert();
    if (project === undefined) throw new Failure('TypeDoc could not read the types of the construct.');
    await app.generateOutputs(project);
    if (app.logger.hasErrors() || app.logger.hasWarnings()) throw new Failure('TypeDoc found problems, see above.');
    const generated = readFileSync(path.join(folder, 'README.md'), 'utf8').replace(/^# .*\n/, HEAD);
    const file = path.join(root, 'docs/api.md');
    if (!values.check) writeFileSync(file, generated);
    else if (readFileSync(file, 'utf8') !== generated) {
      throw new Failure('docs/api.md is outdated. `npm run api` writes it.');
    }
    return 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
});
