import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { toolEnvironment } from '../../src/machine/respawner/context.ts';
import { commandLine, masked, printable, shellQuote } from '../../src/machine/respawner/shell.ts';
import { INIT, search } from '../support/respawner-world.ts';

const WORDS = [
  'bot',
  'my bot',
  "it's",
  '$(touch /tmp/x)',
  '`id`',
  '',
  '-rf',
  'a=b',
  '~root',
  'foo\\x2dbar.service',
  'a;b&c|d',
  '*',
  'ünïcode',
  '!!',
  '"',
  "'; rm -rf /; '",
  '=ls',
];

test('every word comes out of a shell as it went in', () => {
  for (const word of WORDS) {
    const echoed = execFileSync('/bin/sh', ['-c', `printf %s ${shellQuote(word)}`], { encoding: 'utf8' });
    assert.equal(echoed, word);
  }
});

test('words with control characters hold none when quoted, and come out of bash as they went in', () => {
  for (const word of [
    'a\nb',
    '\u001b[31mred',
    "tab\t'quote'\\",
    'left\u202eright',
    '\u009b1m',
    '\u{e0041}x',
  ]) {
    const quoted = shellQuote(word);
    assert.doesNotMatch(quoted, /[\p{Cc}\p{Cf}]/u);
    const env = { ...process.env, LC_ALL: 'C.UTF-8' };
    assert.equal(execFileSync('bash', ['-c', `printf %s ${quoted}`], { encoding: 'utf8', env }), word);
  }
});

test('names are shown without control characters and cut', () => {
  assert.equal(printable('a\u001b]0;x\u0007b\nc'), 'a\\x1b]0;x\\x07b\\x0ac');
  assert.equal(printable('x'.repeat(300)).length, 200);
});

test('a command is written for the account that has to run it', () => {
  const steps = [{ words: ['a', 'b c'], env: { HOME: '/x y' } }, { words: ['d'] }];
  const alice = { uid: 1000, name: 'alice' };
  assert.equal(commandLine(steps, 1000, alice), "HOME='/x y' a 'b c' && d");
  assert.equal(commandLine(steps, 1001, alice), "sudo -u alice env HOME='/x y' a 'b c' && sudo -u alice d");
  assert.equal(commandLine(steps, 1001, { uid: 0, name: 'root' }), "sudo env HOME='/x y' a 'b c' && sudo d");
  assert.equal(commandLine([{ words: ['d', 'e f'] }], 0, alice), "su -s /bin/sh alice -c 'd '\\''e f'\\'''");
});

test('no bot token passes', async () => {
  const token = `123456:${'A'.repeat(35)}`;
  assert.equal(masked(`x ${token} y`), 'x 123456:… y');
  const { found } = await search({
    procs: [
      INIT,
      { pid: 5, ppid: 1, argv: ['/usr/sbin/CRON', '-f'], comm: 'cron' },
      { pid: 6, ppid: 5, argv: ['/bin/sh', '-c', `BOT_TOKEN=${token} node bot.js`] },
      { pid: 7, ppid: 6, argv: ['node', 'bot.js'] },
    ],
    top: 6,
    tools: { 'crontab -l': `* * * * * BOT_TOKEN=${token} node bot.js\n` },
  });
  assert.equal(found?.name, '* * * * * BOT_TOKEN=123456:… node bot.js');
  assert.doesNotMatch(found.stopCommand, /AAAA/);
});

test('a manager with control characters in its name cannot write to the terminal', async () => {
  const { found } = await search({
    procs: [
      INIT,
      { pid: 5, ppid: 1, argv: ['runsv', 'x\u001b[2J\n'], cwd: '/etc/sv/x\u001b[2J\n' },
      { pid: 7, ppid: 5, argv: ['node', 'bot.js'] },
    ],
  });
  assert.doesNotMatch(found!.name + found!.stopCommand, /\p{Cc}/u);
  assert.match(found!.stopCommand, /^sv down \$'\/etc\/sv\/x\\x1b\[2J\\x0a' && touch /);
});

test("the managers' tools get no token of ours", () => {
  const environment = toolEnvironment({
    HOME: '/h',
    PATH: '/p',
    TELEGRAM_BOT_TOKEN: '1:x',
    SINGLEPOLL_BOT: '1',
  });
  assert.deepEqual(Object.keys(environment).sort(), [
    'HOME',
    'LC_ALL',
    'PATH',
    'SYSTEMD_PAGER',
    'XDG_RUNTIME_DIR',
  ]);
});
