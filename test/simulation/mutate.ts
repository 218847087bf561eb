/**
 * The whole simulation with one rule of the program broken: bundled in memory with the rule's text replaced, so that the
 * program itself needs no hook for it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { BrokenRule } from './broken-rules.ts';
import type { Outcome } from './world.ts';

const ROOT = join(import.meta.dirname, '..', '..');

/** Path → broken text. Throws where a rule's text is not in its file exactly once. */
function brokenFiles(rule: BrokenRule): Map<string, string> {
  const breaks = rule.and ? [rule, rule.and] : [rule];
  return new Map(breaks.map((it) => [join(ROOT, it.file), broken(rule.name, it)]));
}

function broken(name: string, { file, find, put }: Pick<BrokenRule, 'file' | 'find' | 'put'>): string {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const parts = text.split(find);
  if (parts.length !== 2) throw new Error(`"${name}": its text stands ${parts.length - 1} times in ${file}`);
  return parts.join(put);
}

export async function simulationWith(rule: BrokenRule): Promise<(seed: number) => Promise<Outcome>> {
  const module = (await bundleWith(rule, 'test/simulation/world.ts')) as typeof import('./world.ts');
  return module.runSeed;
}

/** The module `entry`, with all that it imports, and the rule broken. */
export async function bundleWith(rule: BrokenRule, entry: string): Promise<unknown> {
  const files = brokenFiles(rule);
  const { outputFiles } = await build({
    entryPoints: [join(ROOT, entry)],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    logLevel: 'silent',
    plugins: [
      {
        name: 'break one rule',
        setup(it) {
          it.onLoad({ filter: /\.ts$/ }, ({ path }) => {
            const contents = files.get(path);
            return contents === undefined ? null : { contents, loader: 'ts' };
          });
        },
      },
    ],
  });
  const code = Buffer.from(outputFiles[0]!.contents).toString('base64');
  return import(`data:text/javascript;base64,${code}`);
}
