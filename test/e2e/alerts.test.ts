// Alerts and the digest of real runs: to the admin chat and to a URL, and that nothing waits for either when they fail.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Bed, bed, node, PYTHON, worker } from '../support/bed.ts';
import { type Engine, openEngine } from '../support/engines.ts';
import { openHook } from '../support/hook.ts';
import { assertNeverTwo, assertNoToken, starts } from '../support/judge.ts';
import { leaseBed } from '../support/lease-bed.ts';
import { startRival } from '../support/rival.ts';
import { legacyPoller, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const CHAT = 'ASSISTANT_ADMIN_TELEGRAM_ID';
const LOOP = ['--backoff', '10ms,20ms', '--max-restarts', '1/1m'];

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

describe('alerts', () => {
  test('alerts: a stray is stopped, a webhook set again, and all is well again; each told once, and counted', async (t) => {
    const b = await bed(t);
    b.env[CHAT] = '42';
    const stray = legacyPoller(b, 'production_polling_bot.py');
    await until('the stray', () => polledBy(b, 'production_polling_bot.py').length > 0, { seen: stray.seen });
    const run = await b.polling(['--', ...node('polite.mjs')]);
    const first = await toldOf(b, /^stray stopped: /);
    assert.match(
      first,
      new RegExp(
        `^stray stopped: @\\w+ on \\S+\na stray poller was stopped: pid ${stray.pid} \\(.*production_polling_bot\\.py\\)\nat [-0-9]{10} [:0-9]{8} UTC\nnext: singlepoll who`,
      ),
    );
    for (const path of ['a', 'b']) {
      const before = b.sandbox.methods().filter((it) => it === 'deletewebhook').length;
      await b.sandbox.setWebhook(`https://thief.example.com/${path}`);
      await until(
        'it to be cleared',
        () => b.sandbox.methods().filter((it) => it === 'deletewebhook').length > before,
        { seen: run.seen },
      );
    }
    await toldOf(b, /^webhook set again: [\s\S]*somebody set a webhook to https:\/\/thief\.example\.com\/…/);
    const well = await toldOf(b, /^recovered: /);
    assert.match(well, /all is well again after: webhook set again\nsince /);
    assert.equal(told(b).length, 3, told(b).join('\n--\n'));
    assert.deepEqual((await b.status()).alerts, { sent: 3, failed: 0, waiting: 0, lastError: null });
    assertNoToken(told(b).join('\n'), b.token);
    assert.equal(starts(b.journal()).filter(({ name }) => name === 'polite.mjs').length, 1);
    assert.match(run.stderr(), /^\[alert\] problems are told to chat 42$/m);
  });

  test('alerts: a rival that stays ends the run, and the chat is told before the process ends', async (t) => {
    const b = await bed(t);
    b.env[CHAT] = '42';
    const rival = startRival(t, b, { pauseMs: 5 });
    const run = b.cli([
      'start',
      '--rival-after',
      '2s',
      '--on-rival',
      'yield',
      '--',
      ...node('ends-on-409.mjs'),
    ]);
    assert.equal((await run.exit(40_000)).code, 75, run.seen());
    assert.equal(told(b).length, 1, told(b).join('\n--\n'));
    assert.match(
      told(b)[0] ?? '',
      /^rival: [\s\S]*does not go away[^\n]*; yielding \(exit 75\)[\s\S]*next: Stop the other one/,
    );
    await rival.leave();
  });

  test('alerts: a stray that is brought back is told once, however often the supervisor is started again', async (t) => {
    const b = await bed(t);
    b.env[CHAT] = '42';
    const secret = b.file('secret', b.token, 0o600);
    const respawner = join(import.meta.dirname, '../fixtures/respawner.py');
    const manager = b.spawn(PYTHON, [respawner, secret, b.sandbox.root, worker('poller.py')]);
    await until('it to poll', () => polledBy(b, 'poller.py').length > 0, { seen: manager.seen });
    for (let times = 0; times < 2; times++) {
      const result = await b.run(['start', '--stop-timeout', '2s', '--', ...node('polite.mjs')], {
        ms: 60_000,
      });
      assert.equal(result.code, 75, result.stderr);
    }
    const back = told(b).filter((it) => it.startsWith('stray that stays: '));
    assert.equal(back.length, 1, told(b).join('\n--\n'));
    assert.match(back[0] ?? '', /\(exit 75\)[\s\S]*next: singlepoll who/);
    const saved = JSON.parse(readFileSync(join(b.stateDir, String(b.botId), 'alerts.json'), 'utf8'));
    assert.equal(saved.kinds['stray-back'].held, 1);
  });

  test('alerts: crash loop, with the last lines, the same exit code, to chat and URL; by every preset', async (t) => {
    const b = await bed(t);
    const hook = await openHook(t);
    b.env[CHAT] = '42';
    const secrets = 'https://alice:pa55@'.slice(8);
    b.env.HOOK = `${hook.url.replace('//', `//${secrets}`)}/T0p1c`;
    for (const format of ['json', 'slack', 'discord', 'ntfy']) {
      const result = await b.run([
        'start',
        ...LOOP,
        '--alert-cooldown',
        '1ms',
        '--alert-url',
        'env:HOOK',
        '--alert-format',
        format,
        '--',
        ...node('exits.mjs', '3'),
      ]);
      assert.equal(result.code, 3, result.stderr);
      assert.doesNotMatch(result.stderr, /pa55|T0p1c/);
    }
    assert.equal(told(b).length, 4);
    const [text = ''] = told(b);
    assert.match(
      text,
      /^crash loop: @\w+ on \S+\n2 exits of the worker within 60 s, the last with code 3; singlepoll has given up \(exit 3\)\nat .*\nits last lines:\n\| last words 1 of 3\n\| last words 2 of 3\n\| last words 3 of 3\nnext: singlepoll reset {4}# starts it again with the same command$/,
    );
    assert.equal(hook.posts.length, 4);
    for (const { method, headers } of hook.posts) {
      assert.equal(method, 'POST');
      assert.equal(headers['content-type'], 'application/json');
      assert.equal(headers.authorization, `Basic ${Buffer.from('alice:pa55').toString('base64')}`);
    }
    assert.deepEqual(
      hook.posts.map(({ path }) => path),
      ['/T0p1c', '/T0p1c', '/T0p1c', '/'],
    );
    const [json, slack, discord, ntfy] = hook.posts.map((_, index) => hook.json(index));
    assert.deepEqual([json?.event, json?.level, json?.botId], ['crash-loop', 'problem', b.botId]);
    assert.match(String(json?.text), /^crash loop: /);
    assert.match(String(slack?.text), /^crash loop: /);
    assert.match(String(discord?.content), /^crash loop: /);
    assert.deepEqual([ntfy?.topic, ntfy?.priority, ntfy?.title], ['T0p1c', 4, json?.title]);
  });

  test('alerts: none with --no-alerts, none to the chat in deploy mode, none after an asked stop', async (t) => {
    const b = await bed(t);
    b.env[CHAT] = '42';
    const crash = [...LOOP, '--', ...node('exits.mjs', '3')];
    assert.equal((await b.run(['start', '--no-alerts', ...crash])).code, 3);
    assert.equal((await b.run(['start', ...crash], { env: { ...b.env, POLLING_ENABLED: '0' } })).code, 3);
    const run = await b.polling(['--', ...node('polite.mjs')]);
    run.signal('SIGTERM');
    assert.equal((await run.exit()).code, 0);
    assert.deepEqual(told(b), []);
  });

  for (const [how, answer, lastError] of [
    ['hangs', () => null, null],
    ['knows no such hook', () => 404, /HTTP 404$/],
  ] as const) {
    test(`alerts: a server that ${how}: the worker is restarted at once, a stop is one, failures are counted`, async (t) => {
      const b = await bed(t);
      const { url } = await openHook(t, answer);
      const run = await b.polling(['--alert-url', `${url}/s3cret`, '--', ...node('polite.mjs')]);
      const before = b.sandbox.methods().filter((it) => it === 'deletewebhook').length;
      await b.sandbox.setWebhook('https://thief.example.com/x');
      await until(
        'it to be cleared',
        () => b.sandbox.methods().filter((it) => it === 'deletewebhook').length > before,
      );
      const status = await until(
        'a message that is not delivered',
        async () => {
          const now = await b.status();
          const {
            waiting,
            failed,
            lastError: error,
          } = now.alerts ?? { waiting: 0, failed: 0, lastError: null };
          return waiting + failed > 0 && (lastError === null || error !== null) ? now : null;
        },
        { seen: run.seen },
      );
      if (lastError) assert.match(status.alerts?.lastError ?? '', lastError);
      const gaveUp = how.startsWith('knows');
      assert.deepEqual([status.alerts?.waiting, status.alerts?.failed], gaveUp ? [0, 1] : [1, 0]);
      assert.equal(
        status.problems.some(({ code }) => code === 'alerts'),
        gaveUp,
        'a problem only where it keeps failing',
      );
      process.kill(status.worker?.pid ?? -1, 'SIGKILL');
      await until('the next worker to poll', () => new Set(polledBy(b, 'polite.mjs')).size > 1, {
        seen: run.seen,
      });
      run.signal('SIGTERM');
      assert.equal((await run.exit()).code, 0);
      assert.doesNotMatch(run.stderr(), /could not be delivered/, 'the stop waits for nobody');
      assert.doesNotMatch(run.stderr(), /s3cret/);
      assertNeverTwo(b);
    });
  }

  test('alerts: at the end of a crash loop a server that hangs is waited for 3 s, with lock and worker gone', async (t) => {
    const b = await bed(t);
    const hook = await openHook(t, () => null);
    const run = b.cli(['start', ...LOOP, '--alert-url', hook.url, '--', ...node('exits.mjs', '3')]);
    await run.waitFor('supervisor and worker have ended');
    const other = b.cli(['start', '--restart', 'never', '--', ...node('exits.mjs', '0')]);
    await other.waitFor('[lock] taken');
    assert.equal(run.ended(), null, 'the other one has begun while this one still waits');
    assert.equal((await run.exit()).code, 3);
    assert.equal((await other.exit()).code, 0, other.seen());
    assert.match(run.stderr(), /1 message could not be delivered before the end/);
  });

  test('alerts: a chat that may not be written to is given up, a flood waited for, without a restart of anything', async (t) => {
    const b = await bed(t);
    b.env[CHAT] = '42';
    b.sandbox.raw.fault({ kind: 'retry-after', method: 'sendMessage', retryAfter: 1 });
    b.sandbox.raw.fault({ kind: 'status', method: 'sendMessage', status: 403 });
    const stray = legacyPoller(b, 'production_polling_bot.py');
    await until('the stray', () => polledBy(b, 'production_polling_bot.py').length > 0, { seen: stray.seen });
    const run = await b.polling(['--', ...node('polite.mjs')]);
    const status = await until(
      'it to be given up',
      async () => {
        const now = await b.status();
        return now.alerts?.failed === 1 ? now : null;
      },
      { seen: run.seen },
    );
    assert.match(status.alerts?.lastError ?? '', /^the admin chat: 403/);
    const [problem] = status.problems.filter(({ code }) => code === 'alerts');
    assert.match(problem?.message ?? '', /^alerts are not delivered: the admin chat: 403/);
    const screen = await b.run(['status']);
    assert.match(
      screen.stdout,
      /^alerts +0 delivered, 1 given up, 0 waiting, last error: the admin chat: 403/m,
    );
    assert.equal(screen.code, 1);
    assert.equal(b.sandbox.methods().filter((it) => it === 'sendmessage').length, 2);
    assert.deepEqual(told(b), []);
  });

  test('alerts: the digest comes at its time in its zone, once', async (t) => {
    const b = await bed(t);
    b.env[CHAT] = '42';
    // 08:59:54 in Tokyo. Only the wall clock: the program's timers run as ever.
    const fake = [
      '-f',
      '@2026-11-21 23:59:54',
      process.execPath,
      join(import.meta.dirname, '../../bin/singlepoll.js'),
    ];
    const env = { ...b.env, TZ: 'UTC', FAKETIME_DONT_FAKE_MONOTONIC: '1' };
    b.spawn(
      'faketime',
      [...fake, 'start', '--digest', '09:00', '--digest-zone', 'Asia/Tokyo', '--', ...node('polite.mjs')],
      { env },
    );
    const text = await toldOf(b, /^daily digest: /);
    assert.match(text, /\nin the last [\d.]+ s: polled [\d.]+ % of the time, supervisor up /);
    for (const line of [
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
});

describe('alerts of a lease', () => {
  let engine: Engine;
  before(async () => {
    engine = await openEngine('redis');
  });
  after(() => engine?.close());

  test('alerts: a take-over names whose lease it was; the loss of it is told, too', async (t) => {
    const b = await leaseBed(t, engine);
    b.env[CHAT] = '42';
    const other = await b.another();
    other.live();
    const run = await b.standby();
    await other.free();
    const text = await toldOf(b, /^lease taken over: /);
    assert.match(
      text,
      new RegExp(`taken over from ${other.shown} \\(epoch \\d+\\): this machine polls now`),
      run.stderr(),
    );
    const rec = await b.record();
    await b.another({ epoch: (rec?.epoch ?? 0) + 1 });
    await toldOf(b, /^lease lost: [\s\S]*the lease is another's now/);
  });
});
