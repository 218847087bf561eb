/** What doctor finds: in twenty-two projects as they are out there, and rule by rule beside the nearest thing that it must leave alone. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parse } from 'smol-toml';
import { draft } from '../../src/commands/init.ts';
import { findLibrary } from '../../src/doctor/code.ts';
import { studyProject } from '../../src/doctor/processes.ts';
import { findCauses } from '../../src/doctor/rules.ts';
import { asProject, carried, projectNames, projectOf, ruleCases } from '../support/project.ts';

describe('projects', () => {
  for (const name of projectNames()) {
    test(name, () => {
      const project = carried(name);
      assert.ok(project.healthy !== project.expected.length > 0, 'it says what to expect');
      const found = findCauses(studyProject(asProject(project.files)));
      const shown = (note: boolean) =>
        found
          .filter((finding) => (finding.note ?? false) === note)
          .map(({ rule, file, line }) => `${rule} ${file}:${line}`)
          .sort();
      const told = JSON.stringify(found, null, 1);
      assert.deepEqual(shown(false), project.expected, told);
      assert.deepEqual(shown(true), project.notes, told);
      for (const { why, cure } of found)
        assert.ok(why.length > 20 && cure.length > 3 && !/\n|undefined|\{\w+\}/.test(why), told);
      for (const token of project.tokens) assert.ok(!told.includes(token.split(':')[1]!), 'no token is told');
    });
  }
});

/** What production runs, with one worker and without a watcher. */
const COMMANDS: Readonly<Record<string, string>> = {
  'telebot-flask-gunicorn': 'sh -c exec gunicorn app:app --bind 0.0.0.0:$PORT --workers=1',
  'flask-gunicorn': 'gunicorn app:app --workers=1',
  'fastapi-uvicorn': 'uvicorn app.main:app --host 0.0.0.0 --workers=1',
  'ntba-nodemon': 'node index.js',
  'fly-counted': 'node bot.mjs',
  procfile: 'python bot.py',
  aiogram: 'python -m bot',
};

test('init: a file for each project that TOML can read, with a command where one can be told', () => {
  const programs = { venvPython: null, has: () => true };
  for (const { name, files } of projectNames().map(carried)) {
    const { toml, command } = draft(studyProject(asProject(files)), programs);
    assert.deepEqual(parse(toml).command ?? null, command, name);
    // What is in Go, or several bots, has none.
    assert.equal(command === null, /^(kubernetes|monorepo)$/.test(name), name);
    if (name in COMMANDS) assert.equal(command?.join(' '), COMMANDS[name], name);
    for (const key of ['stray', 'lease', 'stopTimeout', 'maxRestarts', 'sealed'])
      assert.ok(key in parse(toml.replace(RegExp(`^# (?=${key} = )`, 'm'), '')), `${name}: ${key}`);
  }
});

test('python-telegram-bot 13 and 20 have a line of their own, also where another file only imports it', () => {
  const line = (...texts: string[]) =>
    findLibrary(texts.map((text, i) => ({ path: `m${i}.py`, text })))?.apiRoot ?? '';
  const imports = 'from telegram import Bot\n';
  for (const old of ['Updater(TOKEN, use_context=True)', 'MessageHandler(Filters.text, echo)'])
    assert.match(line(imports, `from telegram.ext import Updater\n\nx = ${old}\n`), /^Updater\(token, base/);
  const builds = 'from telegram.ext import Application\nApplication.builder()';
  assert.match(line(imports, builds), /^ApplicationBuilder/);
});

test('a library is recognized that is imported beside others, and not one whose name begins so', () => {
  const nameOf = (text: string) => findLibrary([{ path: 'bot.py', text }])?.name;
  for (const text of ['import telebot\n', 'import os, telebot\n', 'import os.path as p, sys,telebot, re\n'])
    assert.equal(nameOf(text), 'pyTelegramBotAPI', text);
  for (const text of ['import os, telebots\n', 'import os\n# , telebot\n'])
    assert.equal(nameOf(text), undefined);
});

describe('rules', () => {
  for (const { name, only, expected, notes, files, tokens } of ruleCases()) {
    test(`${only}: ${name}`, () => {
      const all = findCauses(studyProject(asProject(files)));
      const told = JSON.stringify(all, null, 1);
      const found = all.filter(({ rule }) => rule === only);
      const shown = found.map((it) => `${it.note ? 'note ' : ''}${it.rule} ${it.file}:${it.line}`);
      assert.deepEqual(shown, [...expected, ...notes.map((it) => `note ${it}`)], told);
      for (const token of tokens) assert.ok(!told.includes(token.split(':')[1]!), 'no token is told');
    });
  }
  test('a file that is under way through its own imports, and one that can’t be parsed, end', () => {
    const files = {
      'a.py': 'import b\n',
      'b.py': 'import a\na.run_polling()\n',
      'run.sh': 'sh run.sh\nnpm start\n',
      'package.json': '{"scripts": {"start": "npm start && sh run.sh"}}',
      Procfile: 'web: gunicorn a:app -w 2\n',
      'broken.yaml': '{{ a }}: [',
      'fly.toml': '= 1',
    };
    const found = findCauses(studyProject(projectOf(files)));
    assert.equal(found.map(({ rule, file }) => `${rule} ${file}`).join(), 'server-workers Procfile');
  });
  test('big files that a machine wrote are told of fifty times at most', () => {
    const files = {
      'bot.js': `const bot = 1;\n${'bot.start(); bot.setWebhook(x);\n'.repeat(5_000)}`,
      'up.sh': 'kubectl scale deploy/my-bot --replicas=2\n'.repeat(5_000),
    };
    const found = findCauses(studyProject(projectOf(files)));
    for (const rule of ['sets-webhook', 'scale-command'])
      assert.equal(found.filter((it) => it.rule === rule).length, 50, rule);
  });
});
