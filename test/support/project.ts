// Projects that the tests carry, one text file each: a line about it, what doctor should say, then the files.
//   healthy                      nothing is found
//   expect RULE FILE:LINE        is found, and nothing else is
//   note RULE FILE:LINE          is worth a note
//   -- FILE (MODE) --            what follows is that file
// {{TOKEN_A}} and {{TOKEN_B}} stand for tokens that are made up at each run, so that none lies in this repository.
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Project } from '../../src/doctor/files.ts';
import { randomToken } from './bed.ts';

const FOLDER = fileURLToPath(new URL('../fixtures/projects/', import.meta.url));

export interface CarriedProject {
  name: string;
  healthy: boolean;
  /** `RULE FILE:LINE`, sorted. */
  expected: string[];
  notes: string[];
  files: { path: string; text: string; mode: number }[];
  tokens: string[];
}

export const projectNames = (): string[] =>
  readdirSync(FOLDER)
    .filter((name) => name.endsWith('.txt'))
    .map((name) => name.replace(/\.txt$/, ''));

export function carried(name: string): CarriedProject {
  return parseProject(name, readFileSync(join(FOLDER, `${name}.txt`), 'utf8'));
}

export function parseProject(name: string, text: string): CarriedProject {
  const tokens = [randomToken(), randomToken()];
  const filled = text.replaceAll('{{TOKEN_A}}', tokens[0]!).replaceAll('{{TOKEN_B}}', tokens[1]!);
  const [head = '', ...rest] = filled.split(/^-- (?=\S+(?: \(\d+\))? --$)/m);
  const files = rest.map((part) => {
    const [, path = '', mode] = /^(\S+)(?: \((\d+)\))? --\n/.exec(part) ?? [];
    return { path, text: part.slice(part.indexOf('\n') + 1), mode: Number.parseInt(mode ?? '644', 8) };
  });
  const said = (word: string) =>
    head
      .split('\n')
      .filter((line) => line.startsWith(`${word} `))
      .map((line) => line.slice(word.length + 1))
      .sort();
  return {
    name,
    healthy: /^healthy$/m.test(head),
    expected: said('expect'),
    notes: said('note'),
    files,
    tokens,
  };
}

/** Short programs that poll, for rules.txt. */
const PROGRAMS: Record<string, string> = {
  BOT_PY: 'import os, telebot\nbot = telebot.TeleBot(os.environ["BOT_TOKEN"])\nbot.infinity_polling()\n',
  BOT_JS: "const { Bot } = require('grammy');\nconst bot = new Bot(process.env.BOT_TOKEN);\nbot.start();\n",
  APP_PY:
    'import threading\nfrom flask import Flask\nfrom poller import poll\napp = Flask(__name__)\nthreading.Thread(target=poll).start()\n',
  POLLER_PY: 'import telebot\ndef poll():\n    telebot.TeleBot("x").infinity_polling()\n',
};

/** A project for one rule each; `only` is the rule that is meant. */
export function ruleCases(): (CarriedProject & { only: string })[] {
  const text = readFileSync(join(FOLDER, '../doctor-rules.txt'), 'utf8');
  const filled = text.replace(/\{\{(\w+_(?:PY|JS))\}\}\n/g, (_, name: string) => PROGRAMS[name]!);
  const parts = filled.split(/^== /m).slice(1);
  return parts.map((part) => ({
    ...parseProject(part.slice(0, part.indexOf('\n')), part),
    only: /^only (\S+)/m.exec(part)![1]!,
  }));
}

/** As doctor would read it. */
export const asProject = (files: CarriedProject['files']): Project => ({
  files,
  limits: [],
});

/** A project from a record of path and text. */
export const projectOf = (files: Record<string, string>): Project =>
  asProject(Object.entries(files).map(([path, text]) => ({ path, text, mode: 0o600 })));

export function writeProject(folder: string, { files }: CarriedProject): void {
  for (const { path, text, mode } of files) {
    const full = join(folder, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, text);
    chmodSync(full, mode);
  }
}
