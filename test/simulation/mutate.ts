/**
 * The whole simulation with one rule of the program broken: bundled in memory with the rule's text replaced, so that the
 * program itself needs no hook for it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { BrokenRule } from './broken-rules.ts';

const ROOT = join(import.meta.dirname, '..', '..');

/** Path → broken text. Throws where a rule's text is not in its file exactly once. */
function brokenFiles(rule: BrokenRule): Map<string, string> {
  const files = new Map<string, string>();
  for (const { file, find, put } of rule.and ? [rule, rule.and] : [rule]) {
    const path = join(ROOT, file);
    const parts = (files.get(path) ?? readFileSync(path, 'utf8')).split(find);
    if (parts.length !== 2)
      throw new Error(`"${rule.name}": its text stands ${parts.length - 1} times in ${file}`);
    files.set(path, parts.join(put));
  }
  return files;
}

/** `entry` is a file of this folder. Returns what that file exports, with the rule broken. */
export async function simulationWith<Module>(rule: BrokenRule, entry: string): Promise<Module> {
  const files = brokenFiles(rule);
  const { outputFiles } = await build({
    entryPoints: [join(ROOT, 'test/simulation', entry)],
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
  return (await import(`data:text/javascript;base64,${code}`)) as Module;
}
