/**
 * Rules of the program, each broken on purpose by changing its source text (rules/*.txt). What a simulation does not catch it does
 * not check. Several of them are bugs that a simulation found; they stay as its regression tests.
 *
 *   @ src/file.ts                     the file of the rules that follow
 *   * what the program does (seed 7)  a rule, and the seed that shows it
 *   - text                            stands in the file exactly once, so that a rule that was rewritten is noticed
 *   + text                            what it becomes
 *   & src/other.ts                    the second of two rules that stand in for each other
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { Outcome } from './story.ts';
import type { Simulation } from './suite.ts';

const ROOT = join(import.meta.dirname, '..', '..');
/** A rule whose seed does not show it any more is looked for in this many. */
const SEARCH = 6_000;

export interface BrokenRule {
  readonly name: string;
  readonly seed: number;
  readonly changes: { readonly file: string; readonly find: string[]; readonly put: string[] }[];
}

const pathOf = ({ name }: Simulation) => join(import.meta.dirname, 'rules', `${name}.txt`);

export function rulesOf(simulation: Simulation): readonly BrokenRule[] {
  const rules: BrokenRule[] = [];
  let file = '';
  for (const line of readFileSync(pathOf(simulation), 'utf8').split('\n')) {
    const [mark = '', text] = [line[0], line.slice(2)];
    const changes = rules.at(-1)?.changes ?? [];
    if (mark === '@') file = text;
    else if (mark === '*') {
      const [, name = '', seed] = /^(.*) \(seed (\d+)\)$/.exec(text) ?? [];
      rules.push({ name, seed: Number(seed), changes: [{ file, find: [], put: [] }] });
    } else if (mark === '&') changes.push({ file: text, find: [], put: [] });
    else if (mark === '-') changes.at(-1)!.find.push(text);
    else if (mark === '+') changes.at(-1)!.put.push(text);
  }
  return rules;
}

/** Path → broken text. Throws where a rule's text is not in its file exactly once. */
export function brokenFiles({ name, changes }: BrokenRule): Map<string, string> {
  const files = new Map<string, string>();
  for (const { file, find, put } of changes) {
    const path = join(ROOT, file);
    const parts = (files.get(path) ?? readFileSync(path, 'utf8')).split(find.join('\n'));
    if (parts.length !== 2)
      throw new Error(`"${name}": its text stands ${parts.length - 1} times in ${file}`);
    files.set(path, parts.join(put.join('\n')));
  }
  return files;
}

/** The whole simulation with the rule broken, bundled in memory: the program itself needs no hook for it. */
async function simulationWith(rule: BrokenRule, { entry }: Simulation): Promise<Simulation['run']> {
  const files = brokenFiles(rule);
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, entry)],
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
  const broken = (await import(`data:text/javascript;base64,${code}`)) as {
    runSeed(seed: number): Promise<Outcome>;
  };
  return broken.runSeed;
}

/** What is wrong with a rule: not caught at all, or not by its seed any more, which `repin` mends; null where it is caught. */
export async function problemOf(rule: BrokenRule, simulation: Simulation, repin: boolean) {
  const run = await simulationWith(rule, simulation);
  const shows = async (seed: number) => (await run(seed)).violations.length > 0;
  if (await shows(rule.seed)) return null;
  for (let seed = 1; seed <= SEARCH; seed++) {
    if (!(await shows(seed))) continue;
    if (!repin)
      return `seed ${rule.seed} does not show it any more; seed ${seed} does (--repin writes it down)`;
    const text = readFileSync(pathOf(simulation), 'utf8');
    const title = (it: number) => `* ${rule.name} (seed ${it})\n`;
    writeFileSync(
      pathOf(simulation),
      text.replace(title(rule.seed), () => title(seed)),
    );
    return null;
  }
  return `none of ${SEARCH} seeds shows it`;
}
