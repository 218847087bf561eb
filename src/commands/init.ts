/** `singlepoll init`: a commented singlepoll.toml for the project in the working folder. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { showValue } from '../config/messages.ts';
import { findLibrary, languageOf } from '../doctor/code.ts';
import { draft } from '../doctor/draft.ts';
import { readProject } from '../doctor/files.ts';
import { type Facts, studyProject } from '../doctor/processes.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { writeWhole } from '../files.ts';
import { plain, plainCommand } from '../output/plain.ts';
import { findExecutable, isProgramInPath } from '../supervisor/executable.ts';
import { workingFolder } from './context.ts';

const NAME = 'singlepoll.toml';

export function run({ print, force }: Readonly<Record<string, unknown>>): number {
  const folder = workingFolder();
  const path = join(folder, NAME);
  const has = (program: string) => findExecutable(program, folder, process.env.PATH).ok;
  const venvPython = ['.venv/bin/python', 'venv/bin/python', 'env/bin/python'].find(has) ?? null;
  const here = `${showValue(folder)} can’t be read`;
  const facts = studyProject(attempt(() => readProject(folder), here, 'cd to the folder of the project'));
  const { toml, command, commandFrom } = draft(facts, { venvPython, has });
  const write = () =>
    force === true ? writeWhole(path, toml, 0o644) : writeFileSync(path, toml, { flag: 'wx' });
  const hint =
    'singlepoll init --print    # shows what would be written\nsinglepoll init --force    # overwrites it';
  if (print === true) process.stdout.write(toml);
  else attempt(write, `${NAME} can’t be written here`, hint);
  const talk = print === true ? process.stderr : process.stdout;
  const lines = [...(print === true ? [] : [`${NAME} written`]), ...words(facts, command, commandFrom)];
  talk.write(`${lines.join('\n')}\n`);
  return EXIT.ok;
}

function attempt<T>(work: () => T, problem: string, hint: string): T {
  try {
    return work();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const isThere = `${NAME} is there already; nothing was written`;
    throw new SinglepollError(EXIT.config, code === 'EEXIST' ? isThere : `${problem} (${code})`, hint);
  }
}

function words(facts: Facts, command: readonly string[] | null, from: string | null): string[] {
  const lines = command
    ? [`command: ${plainCommand(command)}   (${plain(from ?? '')})`]
    : ['no command was found: fill in `command`, or give it to singlepoll start -- …'];
  const program = command?.[0] ?? '/';
  if (!program.includes('/') && !isProgramInPath(program, process.env))
    lines.push(`  ${plain(program)} is not in PATH here: install it, or write its path`);
  const found = findLibrary(facts.files);
  const ready = facts.files.find(({ path, text }) => languageOf(path) && text.includes('TELEGRAM_API_ROOT'));
  if (ready) lines.push(`TELEGRAM_API_ROOT: ${plain(ready.path)} reads it already`);
  else if (found === null)
    lines.push('no Telegram library was recognized: `start` says whether its calls come through the gateway');
  else if (found.apiRoot === null)
    lines.push(`${found.name} speaks MTProto, not the Bot API: the gateway does not see it`);
  else {
    const place = `${found.name} (${plain(found.file)}:${found.line})`;
    const isLed =
      found.language === 'go' || command?.[0] === 'deno'
        ? 'its calls come through singlepoll’s gateway with `intercept = "proxy"`, or with this line'
        : 'its calls come through singlepoll’s gateway as it is; should `start` say that they do not, this line helps';
    lines.push(`${place}: ${isLed}:`, `  ${found.apiRoot}`);
  }
  return [...lines, 'next: singlepoll doctor, singlepoll start --dry-run'];
}
