// `singlepoll init`: what it writes is taken by `start --dry-run`, nothing is overwritten unasked, nothing is asked without a terminal.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import type { Bed } from '../support/bed.ts';
import { it, xit } from '../support/kinds.ts';
import { copyProgram } from '../support/program-copy.ts';
import { carried, writeProject } from '../support/project.ts';
import { NOBODY } from '../support/squatter.ts';

const toml = (b: Bed, cwd = b.project): string => readFileSync(join(cwd, 'singlepoll.toml'), 'utf8');

it('a file that start --dry-run takes, as it is written and with every suggestion taken', async (b) => {
  const { TELEGRAM_BOT_TOKEN: _, ...clean } = b.env;
  for (const name of ['ptb-two-envs', 'monorepo']) {
    const cwd = join(b.dir, 'carried', name);
    writeProject(cwd, carried(name));
    const init = await b.run(['init', '--force'], { cwd, env: clean });
    assert.deepEqual([init.code, init.stderr], [0, '']);
    const text = toml(b, cwd);
    // Of several bots none can be told.
    const words = name === 'monorepo' ? ['--', 'true'] : [];
    assert.equal(parse(text).command === undefined, name === 'monorepo', text);
    // The token: of the project where it has one, under whatever name.
    const own = /tokenEnv = /.test(text.replace(/^#.*$/gm, '')) ? {} : { TELEGRAM_BOT_TOKEN: b.token };
    writeFileSync(join(cwd, '.env'), '');
    const taken = text.replace(/^# (?=(stray|stopTimeout|maxRestarts|sealed) = )/gm, '');
    for (const now of [text, taken]) {
      writeFileSync(join(cwd, 'singlepoll.toml'), now);
      const dry = await b.run(['start', '--dry-run', ...words], { cwd, env: { ...clean, ...own } });
      assert.equal(dry.code, 0, `${name}: ${now}\n${dry.stderr}`);
    }
  }
});

xit('--print writes nothing; the library’s line is shown, with its place', async (b) => {
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

xit('strays and another name of the token', async (b) => {
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

it('never overwrites unasked: 78, also for a symlink to nothing; --force replaces it as a whole', async (b) => {
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

xit('a folder that may not be written: 78, and nothing is proposed that would fail, too', async (b) => {
  if (process.getuid?.() !== 0) return;
  const program = copyProgram(join(b.dir, 'program'));
  const env = { ...b.env, SINGLEPOLL_DIR: join(b.dir, 'theirs') };
  const told = async (...words: string[]) => {
    const run = b.spawn(process.execPath, [program, 'init', ...words], { env, uid: NOBODY });
    await run.ends(words.includes('--print') ? 0 : 78);
    return run.stderr();
  };
  const cannot = /can’t be written here \(EACCES\)\n {2}→ singlepoll init --print .*\n$/;
  assert.match(await told(), cannot);
  b.file('singlepoll.toml', 'mine = 1\n', 0o644);
  assert.match(await told(), /nothing was written\n {2}→ singlepoll init --print .*\n$/);
  assert.match(await told('--force'), cannot);
  await told('--print');
});
