// sd_notify: READY after the first poll, STATUS at changes, a watchdog fed by polls, STOPPING; nothing of it for the worker.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Bed, bed, node, PYTHON } from '../support/bed.ts';
import { assertNoToken } from '../support/judge.ts';
import { environOf } from '../support/proc.ts';
import { staysTrue, until } from '../support/wait.ts';

const listener = fileURLToPath(new URL('../fixtures/notify-socket.py', import.meta.url));

interface Told {
  /** Without barriers. */
  messages(): { text: string; pid: number }[];
  lines(name: string): string[];
}

async function manager(b: Bed, socket: string): Promise<Told> {
  const heard = b.spawn(PYTHON, [listener, socket]);
  await heard.waitFor(/"bound"/);
  const messages = () =>
    heard
      .stdout()
      .split('\n')
      .filter((line) => line.includes('"text"'))
      .map((line) => JSON.parse(line) as { text: string; pid: number })
      .filter(({ text }) => text !== 'BARRIER=1');
  return {
    messages,
    lines: (name) =>
      messages()
        .flatMap(({ text }) => text.split('\n'))
        .filter((line) => line.startsWith(`${name}=`)),
  };
}

/** Polls while the file `polls` is there. */
const WORKER = `import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
const { TELEGRAM_API_ROOT: root, TELEGRAM_BOT_TOKEN: token } = process.env;
for (;;) {
  if (existsSync('polls')) await fetch(root + '/bot' + token + '/getUpdates?timeout=0').catch(() => {});
  await pause(100);
}`;

test('notify: READY after the first poll, WATCHDOG while polls succeed, STOPPING; nothing for the worker', async (t) => {
  const b = await bed(t);
  const socket = join(b.dir, 'notify');
  const told = await manager(b, socket);
  const running = b.cli(['start', '--deaf-after', '1s', '--', process.execPath, b.file('bot.mjs', WORKER)], {
    env: { ...b.env, NOTIFY_SOCKET: socket, WATCHDOG_USEC: '1000000' },
  });
  await until('a status', () => told.lines('STATUS').some((it) => /=starting; worker \d+/.test(it)));
  await staysTrue('it is not ready', 500, () => told.lines('READY').length === 0);
  b.file('polls', '');
  await until('READY', () => told.lines('READY').length === 1, { seen: running.seen });
  const ready = told.messages().find(({ text }) => text.includes('READY=1'));
  assert.match(ready?.text ?? '', /STATUS=polling; worker \d+; \d+ polls, last \d\d:\d\d:\d\d UTC/);
  const fed = told.lines('WATCHDOG').length;
  await until('the watchdog to be fed', () => told.lines('WATCHDOG').length > fed + 3);
  const worker = (await b.status()).worker?.pid ?? 0;
  const names = (environOf(worker) ?? []).map((it) => it.split('=')[0] ?? '');
  assert.ok(names.includes('SINGLEPOLL_BOT'), 'the environment of the worker is seen');
  assert.deepEqual(
    names.filter((it) => /^(?:NOTIFY_SOCKET|WATCHDOG_)/.test(it)),
    [],
  );

  // Replaced as deaf, and the next one never polls: our loop runs, the bot does not.
  rmSync(join(b.project, 'polls'));
  await running.waitFor(/\[systemd\] nobody has polled for too long/);
  const starved = told.lines('WATCHDOG').length;
  await staysTrue('the watchdog is not fed', 700, () => told.lines('WATCHDOG').length === starved);
  b.file('polls', '');
  await until('the watchdog to be fed again', () => told.lines('WATCHDOG').length > starved);

  running.signal('SIGTERM');
  assert.equal((await running.exit()).code, 0);
  await until('STOPPING', () => told.lines('STOPPING').length === 1);
  assert.equal(told.lines('READY').length, 1, 'said once');
  assertNoToken(JSON.stringify(told.messages()), b.token);
});

test('notify: who stands by is ready, and fed; an abstract socket; a watchdog of another process is not fed', async (t) => {
  const b = await bed(t);
  await b.polling(['--', ...node('polite.mjs')]);
  const socket = `@singlepoll-test-${b.cookie}`;
  const told = await manager(b, socket);
  const env = { ...b.env, NOTIFY_SOCKET: socket, WATCHDOG_USEC: '500000' };
  const waiting = b.cli(['start', '--wait', '--', ...node('polite.mjs')], { env });
  await until('READY', () => told.lines('READY').length === 1, { seen: waiting.seen });
  assert.match(told.lines('STATUS')[0] ?? '', /stands by/);
  await until('the watchdog to be fed', () => told.lines('WATCHDOG').length > 2);
  waiting.signal('SIGTERM');
  assert.equal((await waiting.exit()).code, 0);
  await until('STOPPING', () => told.lines('STOPPING').length === 1);
  const fed = told.lines('WATCHDOG').length;
  const other = b.cli(['start', '--wait', '--', ...node('polite.mjs')], {
    env: { ...env, WATCHDOG_PID: '1' },
  });
  await until('READY', () => told.lines('READY').length === 2, { seen: other.seen });
  await staysTrue('it feeds nothing', 400, () => told.lines('WATCHDOG').length === fed);
});
