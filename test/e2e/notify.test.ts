// sd_notify: READY after the first poll, STATUS at changes, a watchdog fed by polls, STOPPING; nothing of it for the worker.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Bed, fixture, PYTHON } from '../support/bed.ts';
import { assertNoToken } from '../support/judge.ts';
import { it } from '../support/kinds.ts';
import { environOf } from '../support/proc.ts';
import { staysTrue, until } from '../support/wait.ts';

/** Gives what the manager was told so far, without barriers, and its lines of one name. */
async function manager(b: Bed, socket: string) {
  const heard = b.spawn(PYTHON, [fixture('notify-socket.py'), socket]);
  await heard.waitFor(/"bound"/);
  const texts = () =>
    heard
      .stdout()
      .split('\n')
      .filter((line) => line.includes('"text"'))
      .map((line) => (JSON.parse(line) as { text: string }).text)
      .filter((text) => text !== 'BARRIER=1');
  const lines = (name: string) =>
    texts()
      .flatMap((text) => text.split('\n'))
      .filter((line) => line.startsWith(`${name}=`));
  return { texts, lines };
}

/** Polls while the file `polls` is there. */
const WORKER = `import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
const { TELEGRAM_API_ROOT: root, TELEGRAM_BOT_TOKEN: token } = process.env;
for (;;) {
  if (existsSync('polls')) await fetch(root + '/bot' + token + '/getUpdates?timeout=0').catch(() => {});
  await pause(100);
}`;

it('READY after the first poll, WATCHDOG while polls succeed, STOPPING; nothing for the worker', async (b) => {
  const socket = join(b.dir, 'notify');
  const told = await manager(b, socket);
  const env = { ...b.env, NOTIFY_SOCKET: socket, WATCHDOG_USEC: '1000000' };
  const run = b.start(['--deaf-after', '1s', '--', process.execPath, b.file('bot.mjs', WORKER)], { env });
  await until('a status', () => told.lines('STATUS').some((it) => /=starting; worker \d+/.test(it)), run);
  await staysTrue('it is not ready', 300, () => told.lines('READY').length === 0);
  b.file('polls', '');
  await until('READY', () => told.lines('READY').length === 1, run);
  const ready = told.texts().find((text) => text.includes('READY=1'));
  assert.match(ready ?? '', /STATUS=polling; worker \d+; \d+ polls, last \d\d:\d\d:\d\d UTC/);
  const fed = told.lines('WATCHDOG').length;
  await until('the watchdog to be fed', () => told.lines('WATCHDOG').length > fed + 3, run);
  const names = environOf((await b.status()).worker?.pid ?? 0)?.map((it) => it.split('=')[0] ?? '') ?? [];
  assert.ok(names.includes('SINGLEPOLL_BOT'), 'the environment of the worker is seen');
  assert.ok(!names.some((it) => /^(?:NOTIFY_SOCKET|WATCHDOG_)/.test(it)));

  // Replaced as deaf, and the next one never polls: our loop runs, the bot does not.
  rmSync(join(b.project, 'polls'));
  await run.waitFor(/\[systemd\] nobody has polled for too long/);
  // What was sent before comes through another program, and so later than the line.
  let starved = 0;
  const isStarved = () => {
    starved = told.lines('WATCHDOG').length;
    const stays = staysTrue('the watchdog is not fed', 700, () => told.lines('WATCHDOG').length === starved);
    return stays.then(
      () => true,
      () => false,
    );
  };
  await until('the watchdog to be fed no more', isStarved, run);
  b.file('polls', '');
  await until('the watchdog to be fed again', () => told.lines('WATCHDOG').length > starved, run);
  await run.stop();
  await until('STOPPING', () => told.lines('STOPPING').length === 1);
  assert.equal(told.lines('STATUS').at(-1), 'STATUS=stopped: SIGTERM');
  assert.equal(told.lines('READY').length, 1, 'said once');
  assertNoToken(JSON.stringify(told.texts()), b.token);
});

it('who stands by is ready, and fed; an abstract socket; a watchdog of another process is not fed', async (b) => {
  await b.polling();
  const socket = `@singlepoll-test-${b.cookie}`;
  const told = await manager(b, socket);
  const env = { ...b.env, NOTIFY_SOCKET: socket, WATCHDOG_USEC: '500000' };
  const waiting = b.start('--wait', { env });
  await until('READY', () => told.lines('READY').length === 1, waiting);
  assert.match(told.lines('STATUS').at(-1) ?? '', /standby/);
  await until('the watchdog to be fed', () => told.lines('WATCHDOG').length > 2);
  await waiting.stop();
  await until('STOPPING', () => told.lines('STOPPING').length === 1);
  const fed = told.lines('WATCHDOG').length;
  const other = b.start('--wait', { env: { ...env, WATCHDOG_PID: '1' } });
  await until('READY', () => told.lines('READY').length === 2, other);
  await staysTrue('it feeds nothing', 400, () => told.lines('WATCHDOG').length === fed);
});
