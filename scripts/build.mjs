// Builds dist/: one call of esbuild. Every `import()` in the source becomes a chunk of its own, loaded when it is reached, and what
// several need is in one chunk: `status` and `--help` never load what only `start` needs.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';
import { notices } from './notices.mjs';
import { emitTypes } from './types.mjs';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));

rmSync('dist', { recursive: true, force: true });
const { metafile } = await build({
  metafile: true,
  entryPoints: {
    cli: 'src/cli.ts',
    index: 'src/api/index.ts',
    'sample-bot': 'src/sandbox/sample-bot.ts',
    'legacy-polling-bot': 'src/sandbox/sample-stray.ts',
    'inspector-child': 'src/strays/inspector-child.ts',
  },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  platform: 'node',
  target: 'node20.20',
  format: 'esm',
  // Less to read; names and lines stay, for the stack traces of bug reports.
  minifySyntax: true,
  minifyWhitespace: true,
  lineLimit: 160,
  define: { SINGLEPOLL_VERSION: JSON.stringify(version) },
  // For the packages that are CommonJS and ask for modules of Node.
  banner: {
    js: "import{createRequire as requireFrom}from'node:module';const require=requireFrom(import.meta.url);",
  },
  legalComments: 'none',
  logLevel: 'warning',
  // Of @redis/client and pg: what they use only where it is installed.
  external: ['@node-rs/xxhash', 'pg-native'],
});
writeFileSync('dist/THIRD-PARTY-NOTICES.txt', notices(Object.keys(metafile.inputs)));
emitTypes('dist/types', 'api/index.d.ts');
