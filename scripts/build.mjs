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
    'legacy-polling-bot': 'src/sandbox/sample-stray.ts',
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
const files = new Map();
for (const { path, text } of outputFiles) {
  const { code } = await transform(text, {
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
  files.set(basename(path), code);
}

// All that a `status` loads is one file: to find, read and compile twenty-five takes longer than the answer.
const core = new Set();
function add(name) {
  if (!files.has(name) || core.has(name)) return;
  core.add(name);
  for (const { path, kind } of metafile.outputs[`dist/${name}`].imports)
    if (kind === 'import-statement') add(basename(path));
}
for (const name of files.keys()) if (/^(?:cli|status-\w+)\.js$/.test(name)) add(name);
const fromCore = (code, load) =>
  code.replace(/\brequire\("\.\/([\w-]+\.js)"\)/g, (whole, name) =>
    core.has(name) ? `${load}("${name}")` : whole,
  );
// In parentheses, so that V8 compiles each at once instead of looking through it first.
const parts = [...core].map(
  (name) => `"${name}":(function(module,exports){${fromCore(files.get(name), 'load')}\n})`,
);
const loader =
  'function load(name){if(made[name])return made[name].exports;const module=made[name]={exports:{}};' +
  'parts[name](module,module.exports);return module.exports}module.exports=load;\n';
for (const name of core) files.delete(name);
for (const [name, code] of files) writeFileSync(`dist/${name}`, fromCore(code, 'require("./core.js")'));
writeFileSync('dist/core.js', `const made={},parts={${parts.join(',\n')}};\n${loader}`);
writeFileSync('dist/cli.js', 'require("./core.js")("cli.js");\n');
// The worker's own runtimes load them as they are.
cpSync('src/intercept/hooks', 'dist/hooks', {
  recursive: true,
  filter: (path) => !path.endsWith('__pycache__'),
});
writeFileSync('dist/package.json', '{"type":"commonjs"}\n');
writeFileSync('dist/THIRD-PARTY-NOTICES.txt', notices(Object.keys(metafile.inputs)));
