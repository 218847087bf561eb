// Alerts and the digest of real runs: to the admin chat and to a URL, and that nothing waits for either when they fail.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Bed, node } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { openEngine } from '../support/engines.ts';
import { openHook } from '../support/hook.ts';
import { assertNeverTwo, assertNoToken, starts } from '../support/judge.ts';
import { it, test, xit } from '../support/kinds.ts';
import { leaseBed } from '../support/lease-bed.ts';
import { startRemoteRival } from '../support/rival.ts';
import { polledBy, pollingStray } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const CHAT = 'ASSISTANT_ADMIN_TELEGRAM_ID';
const LOOP = '--backoff 10ms,20ms --max-restarts 1/1m'.split(' ');

/** What the admin chat was told so far. */
const told = (b: Bed): string[] =>
  b.sandbox.raw.sent
    .filter(({ method, chatId }) => method === 'sendmessage' && chatId === '42')
    .map(({ text }) => text);
const toldOf = (b: Bed, pattern: RegExp) =>
  until(`the chat to be told of ${pattern}`, () => told(b).find((it) => pattern.test(it)), {
    ms: 30_000,
    seen: () => told(b).join('\n--\n'),
  });

/** Somebody sets a webhook; it is cleared. */
async function thieve(b: Bed, path: string): Promise<void> {
  const cleared = () => b.sandbox.methods().filter((it) => it === 'deletewebhook').length;
  const before = cleared();
  await b.sandbox.setWebhook(`https://thief.example.com/${path}`);
  await until('it to be cleared', () => cleared() > before);
}

it('a stray is stopped, a webhook set again, and all is well again; each told once, and counted', async (b) => {
  b.env[CHAT] = '42';
  const stray = await pollingStray(b, 'production_polling_bot.py');
  const run = await b.polling();
  const words = `a stray poller was stopped: pid ${stray.pid} \\(.*production_polling_bot\\.py\\)`;
  const time = 'at [-0-9]{10} [:0-9]{8} UTC\nnext: singlepoll who';
  assert.match(
    await toldOf(b, /^stray stopped: /),
    new RegExp(`^stray stopped: @\\w+ on \\S+\n${words}\n${time}`),
  );
  for (const path of ['a', 'b']) await thieve(b, path);
  await toldOf(b, /^webhook set again: [\s\S]*somebody set a webhook to https:\/\/thief\.example\.com\/…/);
  assert.match(await toldOf(b, /^recovered: /), /all is well again after: webhook set again\nsince /);
  assert.equal(told(b).length, 3, told(b).join('\n--\n'));
  assert.deepEqual((await b.status()).alerts, { sent: 3, failed: 0, waiting: 0, lastError: null });
  assertNoToken(told(b).join('\n'), b.token);
  assert.equal(starts(b.journal()).filter(({ name }) => name === 'polite.mjs').length, 1);
  assert.match(run.stderr(), /^\[alert\] problems are told to chat 42$/m);
});

it('a rival that stays ends the run, and the chat is told before the process ends', async (b) => {
  b.env[CHAT] = '42';
  // Of a suspect on this machine the chat is told while it is waited for what that does.
  await startRemoteRival(b.t, b);
  const run = b.start(['--rival-after', '2s', '--on-rival', 'yield', '--', ...node('ends-on-409.mjs')]);
  await run.ends(75);
  assert.equal(told(b).length, 1, told(b).join('\n--\n'));
  assert.match(
    told(b)[0]!,
    /^rival: [\s\S]*does not go away[^\n]*; yielding \(exit 75\)[\s\S]*next: (?:stop the other one|singlepoll who --probe)/,
  );
});

it('crash loop: with the last lines, the same exit code, to chat and URL; none with --no-alerts, in deploy mode, after a stop, within the cooldown', async (b) => {
  const hook = await openHook(b.t);
  b.env[CHAT] = '42';
  const secrets = 'https://alice:pa55@'.slice(8);
  b.env.HOOK = `${hook.url.replace('//', `//${secrets}`)}/T0p1c`;
  const crash = [...LOOP, '--', ...node('exits.mjs', '3')];
  await b.exits(3, ['start', '--no-alerts', ...crash]);
  await b.exits(3, ['start', ...crash], { env: { ...b.env, POLLING_ENABLED: '0' } });
  const stopped = await b.polling();
  await stopped.stop();
  assert.deepEqual(told(b), []);

  for (const format of ['json', 'ntfy']) {
    const words = ['--alert-cooldown', '1ms', '--alert-url', 'env:HOOK', '--alert-format', format];
    const { stderr } = await b.exits(3, ['start', ...words, ...crash]);
    assert.doesNotMatch(stderr, /pa55|T0p1c/);
  }
  await b.exits(3, ['start', ...crash]);
  assert.equal(told(b).length, 2, 'told once, however often the supervisor is started again');
  const saved = JSON.parse(readFileSync(join(b.stateDir, String(b.botId), 'alerts.json'), 'utf8'));
  assert.equal(saved.kinds['crash-loop'].held, 1);
  assert.match(
    told(b)[0]!,
    /^crash loop: @\w+ on \S+\n2 exits of the worker within 60 s, the last with code 3; singlepoll has given up \(exit 3\)\nat .*\nits last lines:\n\| last words 1 of 3\n\| last words 2 of 3\n\| last words 3 of 3\nnext: singlepoll reset {4}# starts it again with the same command$/,
  );
  for (const { method, headers } of hook.posts) {
    assert.deepEqual([method, headers['content-type']], ['POST', 'application/json']);
    assert.equal(headers.authorization, `Basic ${Buffer.from('alice:pa55').toString('base64')}`);
  }
  const [json, ntfy] = [hook.json(0), hook.json(1)];
  assert.deepEqual(
    hook.posts.map(({ path }) => path),
    ['/T0p1c', '/'],
  );
  assert.deepEqual([json.event, json.level, json.botId], ['crash-loop', 'problem', b.botId]);
  assert.match(String(json.text), /^crash loop: /);
  assert.deepEqual([ntfy.topic, ntfy.priority, ntfy.title], ['T0p1c', 4, json.title]);
});

for (const [how, answer] of [
  ['hangs', () => null],
  ['knows no such hook', () => 404],
] as const)
  xit(`a server that ${how}: the worker is restarted at once, a stop is one, failures are counted`, async (b) => {
    const { url } = await openHook(b.t, answer);
    const run = await b.polling(['--alert-url', `${url}/s3cret`]);
    await thieve(b, 'x');
    const gaveUp = how.startsWith('knows');
    const status = await until(
      'a message that is not delivered',
      async () => {
        const now = await b.status();
        const { waiting = 0, failed = 0 } = now.alerts ?? {};
        return (gaveUp ? failed : waiting) > 0 ? now : null;
      },
      run,
    );
    if (gaveUp) assert.match(status.alerts?.lastError ?? '', /HTTP 404$/);
    assert.deepEqual([status.alerts?.waiting, status.alerts?.failed], gaveUp ? [0, 1] : [1, 0]);
    // A problem only where it keeps failing.
    assert.equal(
      status.problems.some(({ code }) => code === 'alerts'),
      gaveUp,
    );
    process.kill(status.worker?.pid ?? -1, 'SIGKILL');
    await until('the next worker to poll', () => new Set(polledBy(b, 'polite.mjs')).size > 1, run);
    await run.stop();
    assert.doesNotMatch(run.stderr(), /could not be delivered|s3cret/, 'the stop waits for nobody');
    assertNeverTwo(b);
  });

xit('at the end of a crash loop a server that hangs is waited for, with lock and worker gone', async (b) => {
  const hook = await openHook(b.t, () => null);
  const run = b.start([...LOOP, '--alert-url', hook.url, '--', ...node('exits.mjs', '3')]);
  await run.waitFor('supervisor and worker have ended');
  const other = b.start(['--restart', 'never', '--', ...node('exits.mjs', '0')]);
  await other.waitFor('[lock] taken');
  await run.ends(3);
  await other.ends(0);
  assert.match(run.stderr(), /1 message could not be delivered before the end/);
});

xit('a chat that may not be written to is given up, a flood waited for, without a restart of anything', async (b) => {
  b.env[CHAT] = '42';
  b.sandbox.raw.fault({ kind: 'retry-after', method: 'sendMessage', retryAfter: 1 });
  b.sandbox.raw.fault({ kind: 'status', method: 'sendMessage', status: 403 });
  const run = await b.polling();
  await thieve(b, 'x');
  const isGivenUp = async () => ((await b.status()).alerts?.failed === 1 ? await b.status() : null);
  const status = await until('it to be given up', isGivenUp, run);
  assert.match(status.alerts?.lastError ?? '', /^the admin chat: 403/);
  const problem = status.problems.find(({ code }) => code === 'alerts');
  assert.match(problem?.message ?? '', /^alerts are not delivered: the admin chat: 403/);
  const { stdout } = await b.exits(1, 'status');
  assert.match(stdout, /^alerts +0 delivered, 1 given up, 0 waiting, last error: the admin chat: 403/m);
  assert.equal(b.sandbox.methods().filter((it) => it === 'sendmessage').length, 2);
  assert.equal(status.worker?.spawns, 1);
});

it('the digest comes at its time in its zone, once', async (b) => {
  b.env[CHAT] = '42';
  // 08:50 in Tokyo, and 09:00 once it polls. Only the wall clock: the program's timers run as ever.
  const clock = b.file('clock', '@2026-11-21 23:50:00');
  const words = ['-f', '+0', 'env', '-u', 'FAKETIME', process.execPath, PROGRAM, 'start'];
  const digest = ['--digest', '09:00', '--digest-zone', 'Asia/Tokyo', '--', ...node('polite.mjs')];
  const times = { TZ: 'UTC', FAKETIME_DONT_FAKE_MONOTONIC: '1', FAKETIME_TIMESTAMP_FILE: clock };
  const run = b.spawn('faketime', [...words, ...digest], {
    env: { ...b.env, ...times, FAKETIME_NO_CACHE: '1' },
  });
  await run.waitFor(/\[poll\] worker \d+ polls/);
  writeFileSync(clock, '@2026-11-22 00:00:00');
  const text = await toldOf(b, /^daily digest: /);
  for (const line of [
    /\nin the last .+: polled [\d.]+ % of the time, supervisor up /,
    /^polls: \d+, updates: 0$/m,
    /^restarts: 0$/m,
    /^strays stopped: 0$/m,
    /^webhook: set again 0 times, now none/m,
    /^problems now: none$/m,
    /^singlepoll \S+, Node \d+/m,
  ])
    assert.match(text, line);
  assert.equal(told(b).length, 1);
});

test('a take-over of the lease names whose it was; the loss of it is told, too', async (t) => {
  const engine = await openEngine('redis');
  t.after(() => engine.close());
  const b = await leaseBed(t, engine);
  b.env[CHAT] = '42';
  const other = await b.another();
  other.live();
  await b.standby();
  await other.free();
  const words = `taken over from ${other.shown} \\(epoch \\d+\\): this machine polls now`;
  assert.match(await toldOf(b, /^lease taken over: /), new RegExp(words));
  const rec = await b.record();
  await b.another({ epoch: (rec?.epoch ?? 0) + 1 });
  await toldOf(b, /^lease lost: [\s\S]*the lease is another's now/);
});
