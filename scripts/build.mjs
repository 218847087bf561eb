// Builds dist/: one call of esbuild. Every `import()` in the source becomes a chunk of its own, loaded when it is reached, and what
// several need is in one chunk: `status` and `--help` never load what only `start` needs. esbuild splits modules only; each chunk is
// then turned into CommonJS, which Node 20 loads in half the time: with modules a `status` takes 3.2 times as long as `node -e 0`.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { build, transform } from 'esbuild';
import { notices } from './notices.mjs';
import { emitTypes } from './types.mjs';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
const target = 'node20.20';

/** commander has a use for it that we have not, and it takes a tenth of the time of a `--help`. */
const noChildProcessInCommander = {
  name: 'no-child-process-in-commander',
  setup(builder) {
    builder.onLoad({ filter: /[/\\]commander[/\\]lib[/\\]command\.js$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replace("require('node:child_process')", '{}'),
    }));
  },
};

rmSync('dist', { recursive: true, force: true });
mkdirSync('dist');
const { metafile, outputFiles } = await build({
  metafile: true,
  write: false,
  entryPoints: {
    cli: 'src/cli.ts',
    index: 'src/api/index.ts',
    'sample-bot': 'src/sandbox/sample-bot.ts',
    'legacy-polling-bot': 'src/sandbox/sample-bot.ts',
    'inspector-child': 'src/strays/inspector-child.ts',
    'library-child': 'src/doctor/library-child.ts',
  },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  platform: 'node',
  target,
  format: 'esm',
  define: { SINGLEPOLL_VERSION: JSON.stringify(version) },
  legalComments: 'none',
  logLevel: 'warning',
  plugins: [noChildProcessInCommander],
});
emitTypes('dist/types', 'api/index.d.ts');
const texts = new Map(outputFiles.map(({ path, text }) => [basename(path), text]));
const commonJs = (text) => ({
  format: 'cjs',
  platform: 'node',
  target,
  // Less to read; names and lines stay, for the stack traces of bug reports.
  minifySyntax: true,
  minifyWhitespace: true,
  lineLimit: 160,
  supported: { 'dynamic-import': false },
  define: { 'import.meta.url': 'moduleUrl' },
  banner: text.includes('import.meta.url')
    ? "const moduleUrl=require('node:url').pathToFileURL(__filename).href;"
    : '',
  logLevel: 'warning',
});

/**
 * esbuild copies a module of Node's, property by property, for each default import; and one letter beyond Latin-1 makes V8 keep a file in
 * two bytes a letter.
 */
const lean = (code) =>
  code
    .replace(/\b__toESM\(\s*require\("(node:\w+)"\)\)/g, 'require("$1")')
    .replace(/\b(import_node_\w+)\s*\.\s*default\b/g, '$1')
    .replace(/[^\x00-\x7f]/g, (it) => `\\u${it.charCodeAt(0).toString(16).padStart(4, '0')}`);

// All that a `status` loads is one file, whose modules share one scope: to find, read and link twenty-five takes longer than the answer.
const core = new Set();
function add(name) {
  if (!texts.has(name) || core.has(name)) return;
  core.add(name);
  for (const { path, kind } of metafile.outputs[`dist/${name}`].imports)
    if (kind === 'import-statement') add(basename(path));
}
for (const name of texts.keys()) if (/^(?:cli|status-\w+)\.js$/.test(name)) add(name);
const chunksOfCore = {
  name: 'chunks-of-core',
  setup(builder) {
    builder.onResolve({ filter: /^\.\// }, ({ path }) =>
      core.has(basename(path)) ? { path: basename(path), namespace: 'core' } : { path, external: true },
    );
    builder.onLoad({ filter: /./, namespace: 'core' }, ({ path }) => ({ contents: texts.get(path) }));
  },
};
const cases = [...core].map((name) => `case '${name}': return require('./${name}');`);
const { banner, ...options } = commonJs([...core].map((name) => texts.get(name)).join());
const bundle = await build({
  ...options,
  banner: { js: banner },
  bundle: true,
  write: false,
  stdin: { contents: `export function load(name) { switch (name) { ${cases.join(' ')} } }`, resolveDir: '.' },
  plugins: [chunksOfCore],
});
writeFileSync('dist/core.js', lean(bundle.outputFiles[0].text));
writeFileSync('dist/cli.js', 'require("./core.js").load("cli.js");\n');
for (const [name, text] of texts) {
  if (core.has(name)) continue;
  const { code } = await transform(text, commonJs(text));
  const linked = code.replace(/\brequire\("\.\/([\w-]+\.js)"\)/g, (whole, it) =>
    core.has(it) ? `require("./core.js").load("${it}")` : whole,
  );
  writeFileSync(`dist/${name}`, lean(linked));
}
// The worker's own runtimes load them as they are.
cpSync('src/intercept/hooks', 'dist/hooks', {
  recursive: true,
  filter: (path) => !path.endsWith('__pycache__'),
});
writeFileSync('dist/package.json', '{"type":"commonjs"}\n');
writeFileSync('dist/THIRD-PARTY-NOTICES.txt', notices(Object.keys(metafile.inputs)));
