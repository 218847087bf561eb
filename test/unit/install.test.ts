// What install writes: quoting, the crontab, markers, names, which variables go along.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseEnvFile } from '../../src/config/files.ts';
import type { SinglepollError } from '../../src/errors.ts';
import { isOpenToOthers } from '../../src/files.ts';
import { cronLine, namesIn, withLine } from '../../src/install/cron.ts';
import {
  chooseName,
  envFileText,
  markerText,
  type Plan,
  readMarker,
  variablesToKeep,
  writePlanned,
} from '../../src/install/plan.ts';
import { systemdFile, systemdPath, systemdUnit, systemdWord } from '../../src/install/systemd.ts';
import { singleQuote } from '../../src/shell.ts';
import { newFolder } from '../support/place.ts';

/** Each as it comes in, and as a word of a unit. */
const ODD: readonly (readonly [string, string])[] = [
  ['', '""'],
  ['a b', '"a b"'],
  ['$HOME', '"$$HOME"'],
  [`\${X}`, '"$${X}"'],
  ['`id`', '"`id`"'],
  ['100%', '"100%%"'],
  ['"q"', '"\\"q\\""'],
  ["it's", `"it's"`],
  ['back\\', '"back\\\\"'],
  ['\\n', '"\\\\n"'],
  ['two\nlines', '"two\\x0alines"'],
  [' x ', '" x "'],
  ['#c', '"#c"'],
  ['é', '"é"'],
  ['~', '"~"'],
  ['*', '"*"'],
  // Not the end of a command.
  [';', '";"'],
];
const WORDS = ODD.map(([word]) => word);

const PLAN: Plan = {
  kind: 'systemd',
  made: { name: 'a-bot', bot: 123456, cwd: '/srv/bot' },
  system: true,
  runAs: 'root',
  words: ['/usr/bin/node', '--', '/opt/singlepoll.cjs', 'start', '--', 'python', 'bot.py'],
  env: {},
  envPath: '/state/install/a-bot.env',
  scriptPath: '/state/install/a-bot.sh',
  stopTimeoutMs: 15_000,
  startTimeoutMs: 90_000,
};

test('install: words and variables come out of sh, and of our own env file, as they went in', (t) => {
  const folder = newFolder(t);
  const env = Object.fromEntries(WORDS.map((value, index) => [`ODD_${index}`, value]));
  const text = envFileText('a-bot', env);
  assert.deepEqual(parseEnvFile(text, {}).vars, env);
  assert.deepEqual(parseEnvFile(text, {}).problems, []);
  const file = join(folder, 'env');
  writeFileSync(file, text);
  const names = Object.keys(env).map((name) => `"$${name}"`);
  const script = `. ${file}; printf '%s\\0' ${names.join(' ')} ${WORDS.map(singleQuote).join(' ')}`;
  const { stdout } = spawnSync('/bin/sh', ['-c', script], { encoding: 'utf8' });
  assert.deepEqual(stdout.split('\0').slice(0, -1), [...WORDS, ...WORDS]);
});

test('install: words in a unit', () => {
  for (const [word, expected] of ODD) assert.equal(systemdWord(word), expected);
  assert.equal(systemdWord('/a/$b', false), '"/a/$b"', 'the program itself: no variables there');
  assert.equal(systemdPath('/a b/100%/"$c"'), '/a b/100%%/"$c"');
});

test('install: what a language can’t hold is refused', () => {
  const tries = [
    () => systemdWord('a\0b'),
    () => systemdPath('/a\nb'),
    () => systemdPath('/a '),
    ...['/a\\b', '/a*', '/a?', '/[a]'].map((path) => () => systemdFile(path)),
    () => cronLine({ ...PLAN, scriptPath: '/a\nb' }),
    () => cronLine({ ...PLAN, scriptPath: `/${'x'.repeat(1000)}` }),
    () => envFileText('x', { X: 'a\rb' }),
  ];
  for (const it of tries) assert.throws(it, { name: 'SinglepollError', exitCode: 78 });
});

test('install: the crontab: one line of ours, every other byte stays', () => {
  const line = cronLine({ ...PLAN, scriptPath: '/a b/100%/a-bot.sh' });
  assert.equal(line, `@reboot /bin/sh '/a b/100\\%/a-bot.sh' # singlepoll install a-bot`);
  const other = '@reboot /bin/sh /x.sh # singlepoll install a-bot-2';
  for (const table of ['', '#\n', ' \n\n* * * * * x\n', 'MAILTO=me', `${other}\n`, 'a\r\nb\n']) {
    const added = withLine(table, 'a-bot', line);
    // Cron refuses a table without a last newline.
    assert.ok(added.startsWith(table) && added.endsWith(`${line}\n`));
    assert.equal(withLine(added, 'a-bot', line), added, 'twice is once');
    assert.equal(withLine(added, 'a-bot', `${line} `), added.replace(line, `${line} `), 'in its place');
    assert.equal(withLine(added, 'a-bot', null), table === 'MAILTO=me' ? 'MAILTO=me\n' : table);
    assert.equal(namesIn(added).at(-1), 'a-bot');
  }
  const notOurs = '# @reboot x # singlepoll install a-bot\n5 * * * * x # singlepoll install a-bot\n';
  assert.equal(withLine(notOurs, 'a-bot', null), notOurs);
});

test('install: a marker names what was made; other files have none', () => {
  const made = { ...PLAN.made, cwd: '/srv/a -- b {x} "y"\n<!--' };
  const text = markerText(made);
  assert.deepEqual(readMarker(`# first\n# ${text}\nrest`), made);
  const head = '# Made by singlepoll install: ';
  for (const it of ['', '[Unit]\n', `${head}{`, `${head}{"name":1,"cwd":"/"}`])
    assert.equal(readMarker(it), null);
});

test('install: a place that can not be written: sudo is proposed to whom it may help', () => {
  const hint = process.getuid?.() === 0 ? /^singlepoll install --print/ : /^sudo singlepoll install/;
  assert.throws(
    () => writePlanned('/dev/null/x.service', '', 0o644),
    (error: SinglepollError) => error.exitCode === 78 && hint.test(error.hint ?? ''),
  );
});

test('a file that others may read or its group may write is open; 0640 is not', () => {
  const open = [0o600, 0o640, 0o400, 0o644, 0o660, 0o666, 0o604].filter(isOpenToOthers);
  assert.deepEqual(open, [0o644, 0o660, 0o666, 0o604]);
});

test('install: names', () => {
  assert.equal(chooseName(undefined, '/srv/My Bot_2'), 'singlepoll-my-bot-2');
  assert.equal(chooseName(undefined, '/'), 'singlepoll-bot');
  assert.equal(chooseName(undefined, '/srv/бот'), 'singlepoll-bot');
  assert.equal(chooseName('x.service', '/'), 'x');
  for (const name of ['', '../x', 'a b', 'a/b', '-x', '.', 'x%i', 'a@b', 'x'.repeat(65)])
    assert.throws(() => chooseName(name, '/'), { exitCode: 64 }, name);
});

test('install: what configuration reads goes along, the rest of the shell only on request', () => {
  const env = {
    PATH: '/bin',
    BOT_TOKEN: 't',
    MY_TOKEN: 'm',
    SINGLEPOLL_HTTP: '8080',
    SINGLEPOLL_RUN: 'of a worker',
    POLLING_ENABLED: '1',
    HTTPS_PROXY: 'p',
    DATABASE_URL: 'd',
    AWS_SECRET: 'no',
    NOTIFY_SOCKET: 'no',
  };
  const kept = variablesToKeep(env, { tokenVariables: ['BOT_TOKEN', 'MY_TOKEN'] }, ['DATABASE_URL']);
  const names = 'BOT_TOKEN DATABASE_URL HTTPS_PROXY MY_TOKEN PATH POLLING_ENABLED SINGLEPOLL_HTTP';
  assert.equal(Object.keys(kept).sort().join(' '), names);
});

test('install: the unit: timeouts that leave room for our own, a yield that stays down, nothing that blinds the look for strays', () => {
  const value = (unit: string, name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(unit)?.[1] ?? null;
  const unit = systemdUnit({ ...PLAN, stopTimeoutMs: 120_500, startTimeoutMs: 600_000 });
  assert.equal(value(unit, 'TimeoutStopSec'), '136s');
  assert.equal(value(unit, 'TimeoutStartSec'), '781s');
  assert.ok(Number.parseInt(value(unit, 'WatchdogSec') ?? '', 10) >= 781);
  assert.equal(value(systemdUnit(PLAN), 'WatchdogSec'), '300s');
  assert.equal(value(unit, 'RestartPreventExitStatus'), '64 75 77 78');
  assert.equal(value(unit, 'Type'), 'notify');
  assert.equal(value(unit, 'User'), 'root');
  assert.equal(value(unit, 'WantedBy'), 'multi-user.target');
  const user = systemdUnit({ ...PLAN, system: false, runAs: null });
  assert.equal(value(user, 'WantedBy'), 'default.target');
  const blinding =
    /^(ProtectProc|ProcSubset|PrivatePIDs|PrivateUsers|PrivateNetwork|PrivateTmp|MemoryDenyWriteExecute)=/m;
  for (const it of [unit, user]) assert.doesNotMatch(it, blinding);
  assert.doesNotMatch(user, /^Protect/m);
});
