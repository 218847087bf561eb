// `singlepoll init`: what it writes is taken by `start --dry-run`, nothing is overwritten unasked, nothing is asked without a terminal.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { type Bed, bed } from '../support/bed.ts';
import { test, xtest } from '../support/kinds.ts';
import { carried, writeProject } from '../support/project.ts';

const toml = (b: Bed, cwd = b.project): string => readFileSync(join(cwd, 'singlepoll.toml'), 'utf8');

test('of each kind a project: a file that start --dry-run takes', async (t) => {
  const b = await bed(t);
  const { TELEGRAM_BOT_TOKEN: _, ...clean } = b.env;
  // What the projects are run by need not be installed here.
  const bin = join(b.dir, 'bin');
  mkdirSync(bin);
  for (const name of ['gunicorn', 'uvicorn', 'python', 'npx'])
    writeFileSync(join(bin, name), '#!/bin/sh\n', { mode: 0o755 });
  const env = { ...clean, PATH: `${bin}:${b.env.PATH}` };
  for (const name of ['telebot-flask-gunicorn', 'ntba-nodemon', 'ptb-two-envs', 'monorepo']) {
    const project = carried(name);
    const cwd = join(b.dir, 'carried', name);
    writeProject(cwd, project);
    const init = await b.run(['init', '--force'], { cwd, env });
    assert.equal(init.code, 0, `${name}: ${init.stderr}`);
    assert.equal(init.stderr, '');
    const text = toml(b, cwd);
    const { command } = parse(text) as { command?: string[] };
    // Of several bots none can be told.
    if (/^monorepo$/.test(name)) assert.equal(command, undefined, text);
    else assert.ok(Array.isArray(command), `${name}: ${text}`);
    const words = command ? [] : ['--', 'true'];
    // The token: of the project where it has one, under whatever name.
    const own = /tokenEnv = /.test(text.replace(/^#.*$/gm, '')) ? {} : { TELEGRAM_BOT_TOKEN: b.token };
    writeFileSync(join(cwd, '.env'), '');
    const dry = await b.run(['start', '--dry-run', ...words], { cwd, env: { ...env, ...own } });
    assert.equal(dry.code, 0, `${name}: ${text}\n${dry.stderr}`);
    // And with every suggestion taken.
    const taken = text.replace(/^# (?=(stray|stopTimeout|maxRestarts|sealed) = )/gm, '');
    writeFileSync(join(cwd, 'singlepoll.toml'), taken);
    const all = await b.run(['start', '--dry-run', ...words], { cwd, env: { ...env, ...own } });
    assert.equal(all.code, 0, `${name}: ${taken}\n${all.stderr}`);
  }
});

test('commands: what production runs, one worker, no watcher, the virtualenv, the token’s own name', async (t) => {
  const b = await bed(t);
  const cases: [string, string[]][] = [
    ['telebot-flask-gunicorn', ['sh', '-c', 'exec gunicorn app:app --bind 0.0.0.0:$PORT --workers=1']],
    ['flask-gunicorn', ['gunicorn', 'app:app', '--workers=1']],
    ['fastapi-uvicorn', ['uvicorn', 'app.main:app', '--host', '0.0.0.0', '--workers=1']],
    ['ntba-nodemon', ['node', 'index.js']],
    ['fly-counted', ['node', 'bot.mjs']],
    ['procfile', ['python3', 'bot.py']],
    ['aiogram', ['python3', '-m', 'bot']],
  ];
  for (const [name, expected] of cases) {
    const cwd = join(b.dir, 'commands', name);
    writeProject(cwd, carried(name));
    const print = await b.run(['init', '--print'], { cwd });
    assert.equal(print.code, 0, print.stderr);
    const { command } = parse(print.stdout) as { command: string[] };
    assert.deepEqual(
      command.map((word) => word.replace(/^python$/, 'python3')),
      expected,
      print.stdout,
    );
  }
});

xtest('--print writes nothing; the library’s line is shown, with its place', async (t) => {
  const b = await bed(t);
  writeProject(b.project, carried('aiogram'));
  const before = readdirSync(b.project);
  const { code, stdout, stderr } = await b.run(['init', '--print']);
  assert.equal(code, 0);
  assert.deepEqual(readdirSync(b.project), before);
  assert.match(stdout, /^# lease = "env:REDIS_URL"$/m);
  assert.match(
    stderr,
    /aiogram \(bot\/__main__\.py:4\)[\s\S]*TelegramAPIServer\.from_base\(os\.environ\["TELEGRAM_API_ROOT"\]\)/,
  );
  assert.match(stderr, /next: singlepoll doctor, singlepoll start --dry-run/);
});

xtest('strays and another name of the token', async (t) => {
  const b = await bed(t);
  b.file('bot.py', 'import telebot\ntelebot.TeleBot("x").infinity_polling()\n');
  b.file('production_polling_bot.py', 'import telebot\ntelebot.TeleBot("x").infinity_polling()\n');
  b.file('.env', `SHOP_TOKEN=${b.token}\n`, 0o600);
  const { TELEGRAM_BOT_TOKEN: _, ...env } = b.env;
  assert.equal((await b.run(['init'], { env })).code, 0);
  assert.match(toml(b), /^# stray = \['production_polling_bot\\\.py\$'\]$/m);
  assert.match(toml(b), /^tokenEnv = "SHOP_TOKEN"$/m);
  const dry = await b.run(['start', '--dry-run'], { env });
  assert.equal(dry.code, 0, dry.stderr);
  assert.match(dry.stderr, /SHOP_TOKEN in \.env/);
});

test('never overwrites unasked: 78, also for a symlink to nothing; --force replaces it as a whole', async (t) => {
  const b = await bed(t);
  b.file('singlepoll.toml', 'mine = 1\n');
  const again = await b.run(['init']);
  assert.equal(again.code, 78);
  assert.match(
    again.stderr,
    /nothing was written\n {2}→ singlepoll init --print .*\n {2}→ singlepoll init --force/,
  );
  assert.equal(toml(b), 'mine = 1\n');
  assert.equal((await b.run(['init', '--force'])).code, 0);
  assert.match(toml(b), /^# command = /m);
  assert.deepEqual(readdirSync(b.project), ['singlepoll.toml']);

  const cwd = join(b.dir, 'home');
  symlinkSync('/no/such/place', join(cwd, 'singlepoll.toml'));
  assert.equal((await b.run(['init'], { cwd })).code, 78);
  assert.equal((await b.run(['init', '--wrong'])).code, 64);
  const help = await b.run(['init', '--help']);
  assert.match(help.stdout, /--force[\s\S]*Examples:\n {2}singlepoll init\n {2}singlepoll init .+\n/);
});
