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
 * two bytes a letter. In String.raw an escape would be shown as it is written, so there no such letter may stand.
 */
const lean = (code) =>
  code
    .replace(/String\.raw`[^`]*[^\x00-\x7f`]/g, (it) => {
      throw Error(`a letter beyond ASCII in String.raw: …${it.slice(-60)}`);
    })
    .replace(/\b__toESM\(\s*require\("(node:\w+)"\)\)/g, 'require("$1")')
    .replace(/\b(import_node_\w+)\s*\.\s*default\b/g, '$1')
    .replace(/[^\x00-\x7f]/g, (it) => `\\u${it.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** The names of these chunks and of those that they load at once, but for those of `others`. */
function reachable(roots, others = new Map()) {
  const found = new Set();
  const add = (name) => {
    if (!texts.has(name) || found.has(name) || others.has(name)) return;
    found.add(name);
    for (const { path, kind } of metafile.outputs[`dist/${name}`].imports)
      if (kind === 'import-statement') add(basename(path));
  };
  for (const root of roots) add(root);
  return found;
}

/** The chunks of these names as one file, whose modules share one scope. `entry`: the code that imports them. */
async function link(names, entry) {
  const linked = {
    name: 'linked',
    setup(builder) {
      builder.onResolve({ filter: /^\.\// }, ({ path }) =>
        names.has(basename(path)) ? { path: basename(path), namespace: 'chunk' } : { path, external: true },
      );
      builder.onLoad({ filter: /./, namespace: 'chunk' }, ({ path }) => ({ contents: texts.get(path) }));
    },
  };
  const { banner, ...options } = commonJs([...names].map((name) => texts.get(name)).join());
  const {
    outputFiles: [file],
  } = await build({
    ...{ ...options, banner: { js: banner }, bundle: true, write: false, plugins: [linked] },
    stdin: { contents: entry, resolveDir: '.' },
  });
  return file.text;
}

// To find, read and link twenty-five chunks takes longer than the answer of a `status`. So all that it loads is one file, and what a
// `start` loads beyond that another. The child whose first answer a `start` waits for has a file of its own.
const named = (pattern) => [...texts.keys()].filter((name) => pattern.test(name));
const homes = new Map();
const files = new Map();
for (const [file, roots] of [
  ['core.js', named(/^(?:cli|status-\w+)\.js$/)],
  ['run.js', named(/^(?:start|server|intercept)-\w+\.js$/)],
]) {
  const names = reachable(roots, homes);
  const cases = [...names].map((name) => `case '${name}': return require('./${name}');`);
  files.set(file, await link(names, `export function load(name) { switch (name) { ${cases.join(' ')} } }`));
  for (const name of names) homes.set(name, file);
}
const child = 'inspector-child.js';
files.set(child, await link(reachable([child]), `import './${child}';`));
for (const [name, text] of texts)
  if (!homes.has(name) && !files.has(name)) files.set(name, (await transform(text, commonJs(text))).code);
files.set('cli.js', 'require("./cli.js");\n');
for (const [file, code] of files) {
  const text = code.replace(/\brequire\("\.\/([\w-]+\.js)"\)/g, (whole, name) =>
    homes.has(name) ? `require("./${homes.get(name)}").load("${name}")` : whole,
  );
  writeFileSync(`dist/${file}`, lean(text));
}
// The worker's own runtimes load them as they are.
cpSync('src/intercept/hooks', 'dist/hooks', {
  recursive: true,
  filter: (path) => !path.endsWith('__pycache__'),
});
writeFileSync('dist/package.json', '{"type":"commonjs"}\n');
writeFileSync('dist/THIRD-PARTY-NOTICES.txt', notices(Object.keys(metafile.inputs)));
