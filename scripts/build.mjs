// Bundles the program into dist/, CommonJS because Node starts it faster than modules. Every `import()` in the source becomes
// a bundle of its own, loaded when it is reached: `status` and `--help` never pay for what only `start` needs, and an idle
// supervisor holds no code that it does not run.
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import Module from 'node:module';
import path from 'node:path';
import v8 from 'node:v8';
import vm from 'node:vm';
import { build } from 'esbuild';
import { leanPackages } from './lean-packages.mjs';
import { notices } from './notices.mjs';
import { emitTypes } from './types.mjs';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));

/** Bundle name → source. Grows while import()s are found. */
const entries = new Map([
  ['cli', 'src/cli.ts'],
  ['quick-status', 'src/quick-status.ts'],
  ['sample-bot', 'src/sandbox/sample-bot.ts'],
  ['inspector-child', 'src/strays/inspector-child.ts'],
  ['legacy-polling-bot', 'src/sandbox/sample-stray.ts'],
]);

const lazyBundles = {
  name: 'lazy-bundles',
  setup(builder) {
    builder.onResolve({ filter: /.*/ }, async ({ path: target, kind, resolveDir, importer }) => {
      if (kind !== 'dynamic-import' || target.startsWith('node:')) return undefined;
      const found = await builder.resolve(target, { kind: 'import-statement', resolveDir, importer });
      if (found.errors.length > 0) return { errors: found.errors };
      const source = path.relative(process.cwd(), found.path);
      const name = source.startsWith('src')
        ? source.slice(4).replace(/\.ts$/, '').replaceAll(path.sep, '-')
        : target.split('/').at(-1).replace(/\.js$/, '');
      if (!entries.has(name)) entries.set(name, source);
      return { path: `./${name}.cjs`, external: true };
    });
  },
};

/** Every file that went into a bundle. */
const inputs = new Set();

rmSync('dist', { recursive: true, force: true });
// The map is walked while it grows.
for (const [name, source] of entries) {
  const { metafile } = await build({
    metafile: true,
    entryPoints: { [name]: source },
    outdir: 'dist',
    bundle: true,
    platform: 'node',
    target: 'node20.20',
    format: 'cjs',
    outExtension: { '.js': '.cjs' },
    // Less to hold in memory; names and lines stay, for the stack traces of bug reports.
    minifySyntax: true,
    minifyWhitespace: true,
    lineLimit: 160,
    define: { SINGLEPOLL_VERSION: JSON.stringify(version), 'import.meta.url': 'moduleUrl' },
    inject: ['scripts/module-url.mjs'],
    supported: { 'dynamic-import': false },
    legalComments: 'none',
    logLevel: 'warning',
    plugins: [...leanPackages, lazyBundles],
  });
  for (const input of Object.keys(metafile.inputs)) inputs.add(input);
}
// For `import {start} from 'singlepoll'`: a module of its own, and its types.
await build({
  entryPoints: { index: 'src/api/index.ts' },
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20.20',
  format: 'esm',
  legalComments: 'none',
  logLevel: 'warning',
});
emitTypes('dist/types', 'api/index.d.ts');
writeFileSync('dist/THIRD-PARTY-NOTICES.txt', notices([...inputs]));
// What is started by hand gets its compiled code put beside it: for a status, compiling takes as long as asking.
for (const name of ['cli', 'quick-status']) writeCodeCache(`dist/${name}.cjs`);
chmodSync('bin/singlepoll.cjs', 0o755);

/** V8 checks the cache against its own version and flags; where it does not fit, bin/singlepoll.cjs goes without. */
function writeCodeCache(file) {
  v8.setFlagsFromString('--no-lazy');
  const script = new vm.Script(Module.wrap(readFileSync(file, 'utf8')), { filename: path.resolve(file) });
  v8.setFlagsFromString('--lazy');
  writeFileSync(`${file}.cache`, script.createCachedData());
}
