/** `singlepoll init`: a commented singlepoll.toml for the project in the working folder. */
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { showValue } from '../config/messages.ts';
import { exists } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { chooseCommand, draft, type Programs, readsApiRoot } from '../init/draft.ts';
import { findExecutable, isProgramInPath } from '../machine/executable.ts';
import { plain, plainCommand } from '../output/plain.ts';
import { type Facts, studyProject } from '../project/facts.ts';
import { commandsOf } from '../project/shell-line.ts';
import { readProject } from '../project/walk.ts';
import { workingFolder } from './context.ts';

const NAME = 'singlepoll.toml';

export async function run(own: Readonly<Record<string, unknown>>): Promise<number> {
  const folder = workingFolder();
  const print = own.print === true;
  const path = join(folder, NAME);
  const facts = studyProject(read(folder));
  const asks = process.stdin.isTTY === true && process.stderr.isTTY === true && !print;
  const overwrites = print || own.force === true;
  if (
    !overwrites &&
    exists(path) &&
    !(asks && (await yes(`${NAME} is there already. Overwrite it? [y/N] `)))
  ) {
    throw new SinglepollError(
      EXIT.config,
      `${NAME} is there already; nothing was written`,
      'singlepoll init --print    # shows what would be written\nsinglepoll init --force    # overwrites it',
    );
  }
  const programs = programsOf(folder);
  const typed = asks && chooseCommand(facts, programs) === null ? await askCommand() : null;
  const { toml, command, commandFrom } = draft(facts, programs, typed);
  if (print) process.stdout.write(toml);
  else write(path, toml, overwrites || exists(path));
  const talk = print ? process.stderr : process.stdout;
  talk.write(`${print ? '' : `${NAME} written\n`}${words(facts, command, commandFrom)}`);
  return EXIT.ok;
}

function read(folder: string): ReturnType<typeof readProject> {
  try {
    return readProject(folder);
  } catch (error) {
    throw new SinglepollError(
      EXIT.config,
      `${showValue(folder)} can’t be read: ${(error as NodeJS.ErrnoException).code}`,
      'cd to the folder of the project',
    );
  }
}

function write(path: string, toml: string, replace: boolean): void {
  const draftPath = `${path}.${process.pid}.tmp`;
  try {
    // `wx`: what came into being since we looked is not overwritten either.
    if (!replace) writeFileSync(path, toml, { flag: 'wx' });
    else {
      // As a whole or not at all.
      writeFileSync(draftPath, toml, { flag: 'wx' });
      renameSync(draftPath, path);
    }
  } catch (error) {
    rmSync(draftPath, { force: true });
    const { code } = error as NodeJS.ErrnoException;
    throw new SinglepollError(
      EXIT.config,
      `${NAME} can’t be written here (${code})`,
      'singlepoll init --print > /path/to/singlepoll.toml',
    );
  }
}

function programsOf(folder: string): Programs {
  const venv = ['.venv/bin/python', 'venv/bin/python', 'env/bin/python'].find(
    (path) => findExecutable(path, folder, '').ok,
  );
  return {
    venvPython: venv ?? null,
    has: (program) => findExecutable(program, folder, process.env.PATH).ok,
  };
}

function words(facts: Facts, command: readonly string[] | null, from: string | null): string {
  const lines: string[] = [];
  if (command) lines.push(`command: ${plainCommand(command)}   (${plain(from ?? '')})`);
  const program = command?.[0] ?? '/';
  if (!program.includes('/') && !isProgramInPath(program, process.env)) {
    lines.push(`  ${plain(program)} is not in PATH here: install it, or write its path`);
  }
  if (command === null)
    lines.push('no command was found: fill in `command`, or give it to singlepoll start -- …');
  const { library: found } = facts;
  const ready = readsApiRoot(facts);
  if (ready !== null) lines.push(`TELEGRAM_API_ROOT: ${plain(ready)} reads it already`);
  else if (found?.library.apiRoot) {
    lines.push(
      `${found.library.name} (${plain(found.file)}:${found.line}): this line lets it poll through singlepoll’s gateway, which keeps every 409 away:`,
      `  ${found.library.apiRoot}`,
    );
  } else if (found) {
    lines.push(`${found.library.name} speaks MTProto, not the Bot API: the gateway does not see it`);
  } else
    lines.push('no Telegram library was recognized: let the bot take its API root from TELEGRAM_API_ROOT');
  lines.push('next: singlepoll doctor, singlepoll start --dry-run');
  return `${lines.join('\n')}\n`;
}

async function yes(question: string): Promise<boolean> {
  return /^y(es)?$/i.test(await ask(question));
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
