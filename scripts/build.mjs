// Bundles the program into dist/. Each command that has heavy packages is an entry of its own, so that
// `status` and `--help` never pay for them; CommonJS, because Node starts it faster than modules.
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));

rmSync('dist', { recursive: true, force: true });
await build({
  entryPoints: {
    cli: 'src/cli.ts',
    'sample-bot': 'src/sandbox/sample-bot.ts',
    'legacy-polling-bot': 'src/sandbox/sample-stray.ts',
  },
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20.20',
  format: 'cjs',
  outExtension: { '.js': '.cjs' },
  minifySyntax: true,
  define: { SINGLEPOLL_VERSION: JSON.stringify(version) },
  // Lazy parts stay lazy: an import() in a CommonJS bundle becomes a require, without Node's module loader.
  supported: { 'dynamic-import': false },
  legalComments: 'none',
  logLevel: 'warning',
});
chmodSync('bin/singlepoll.cjs', 0o755);
