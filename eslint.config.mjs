// @ts-check
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['node_modules/', 'cdk.out/', 'dist/', 'target/', '.venv/', '.local/'] },
  {
    files: ['cdk/**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // `new` adds a construct to its scope, so many constructs are not assigned to a variable.
      'no-new': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
  // An old Node.js must be able to parse the file that refuses it.
  { files: ['scripts/lib/check-node.cjs'], languageOptions: { ecmaVersion: 5, sourceType: 'script' } },
);
