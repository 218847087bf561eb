/** `singlepoll init`: a commented singlepoll.toml for the project in the working folder. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { showValue } from '../config/messages.ts';
import { exists } from '../config/state-dir.ts';
import { languageOf } from '../doctor/code.ts';
import { commandsOf } from '../doctor/commands.ts';
import { chooseCommand, draft, findLibrary, type Programs } from '../doctor/draft.ts';
import { readProject } from '../doctor/files.ts';
import { type Facts, studyProject } from '../doctor/processes.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { writeWhole } from '../files.ts';
import { plain, plainCommand } from '../output/plain.ts';
import { findExecutable, isProgramInPath } from '../supervisor/executable.ts';
import { workingFolder } from './context.ts';

const NAME = 'singlepoll.toml';

export async function run(own: Readonly<Record<string, unknown>>): Promise<number> {
  const folder = workingFolder();
  const path = join(folder, NAME);
  const facts = studyProject(
    attempt(
      () => readProject(folder),
      `${showValue(folder)} can’t be read`,
      'cd to the folder of the project',
    ),
  );
  const print = own.print === true;
  const asks = process.stdin.isTTY === true && process.stderr.isTTY === true && !print;
  const isThere = !print && exists(path);
  const question = `${NAME} is there already. Overwrite it? [y/N] `;
  if (isThere && own.force !== true && !(asks && /^y(es)?$/i.test(await ask(question)))) {
    const hint =
      'singlepoll init --print    # shows what would be written\nsinglepoll init --force    # overwrites it';
    throw new SinglepollError(EXIT.config, `${NAME} is there already; nothing was written`, hint);
  }
  const programs = programsOf(folder);
  const typed = asks && chooseCommand(facts, programs) === null ? await askCommand() : null;
  const { toml, command, commandFrom } = draft(facts, programs, typed);
  // `wx`: what came into being since we looked is not overwritten either.
  const write = () => (isThere ? writeWhole(path, toml, 0o644) : writeFileSync(path, toml, { flag: 'wx' }));
  if (print) process.stdout.write(toml);
  else attempt(write, `${NAME} can’t be written here`, 'singlepoll init --print > /path/to/singlepoll.toml');
  const talk = print ? process.stderr : process.stdout;
  talk.write(`${print ? '' : `${NAME} written\n`}${words(facts, command, commandFrom)}`);
  return EXIT.ok;
}

function attempt<T>(work: () => T, problem: string, hint: string): T {
  try {
    return work();
  } catch (error) {
    throw new SinglepollError(EXIT.config, `${problem} (${(error as NodeJS.ErrnoException).code})`, hint);
  }
}

function programsOf(folder: string): Programs {
  const isHere = (program: string) => findExecutable(program, folder, process.env.PATH).ok;
  const venv = ['.venv/bin/python', 'venv/bin/python', 'env/bin/python'].find(isHere);
  return { venvPython: venv ?? null, has: isHere };
}

function words(facts: Facts, command: readonly string[] | null, from: string | null): string {
  const lines: string[] = [];
  if (command) lines.push(`command: ${plainCommand(command)}   (${plain(from ?? '')})`);
  else lines.push('no command was found: fill in `command`, or give it to singlepoll start -- …');
  const program = command?.[0] ?? '/';
  if (!program.includes('/') && !isProgramInPath(program, process.env))
    lines.push(`  ${plain(program)} is not in PATH here: install it, or write its path`);
  const found = findLibrary(facts);
  const ready = facts.files.find(({ path, text }) => languageOf(path) && text.includes('TELEGRAM_API_ROOT'));
  if (ready) lines.push(`TELEGRAM_API_ROOT: ${plain(ready.path)} reads it already`);
  else if (found === null)
    lines.push('no Telegram library was recognized: let the bot take its API root from TELEGRAM_API_ROOT');
  else if (found.apiRoot === null)
    lines.push(`${found.name} speaks MTProto, not the Bot API: the gateway does not see it`);
  else {
    const place = `${found.name} (${plain(found.file)}:${found.line})`;
    lines.push(`${place}: this line lets it poll through singlepoll’s gateway, which keeps every 409 away:`);
    lines.push(`  ${found.apiRoot}`);
  }
  lines.push('next: singlepoll doctor, singlepoll start --dry-run');
  return `${lines.join('\n')}\n`;
}

async function askCommand(): Promise<readonly string[] | null> {
  const line = await ask('How do you start the bot? (such as: python bot.py; empty: fill it in later) ');
  const commands = commandsOf(line);
  if (line === '') return null;
  return commands.length === 1 && !/[|&;<>$`*?]/.test(line) ? commands[0]! : ['sh', '-c', line];
}

/** One line from the terminal; empty at its end. */
async function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await Promise.race([
      terminal.question(question),
      new Promise<string>((resolve) => terminal.once('close', () => resolve(''))),
    ]);
    return answer.trim();
  } finally {
    terminal.close();
  }
}
