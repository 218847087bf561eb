// `who --probe`: rivals that no search of this machine finds, what it must not disturb, what it must not claim.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Bed, bed, botFixture, type Finished, node, PYTHON } from '../support/bed.ts';
import { assertNoToken } from '../support/judge.ts';
import { startRival, working } from '../support/rival.ts';
import { legacyPoller, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

interface ProbeView {
  seconds: number;
  result: 'rival' | 'none' | 'cannot-tell';
  reason: string | null;
  afterSeconds: number | null;
  rhythmSeconds: number | null;
  retrySeconds: number | null;
  quietSeconds: number;
  message: string;
}

const NOTICE = /\[probe\] holding getUpdates of bot \d+ for .*409/;

/** Every getUpdates that the program sent. */
const ours = (b: Bed) =>
  b.sandbox
    .requests()
    .filter(({ method, userAgent }) => method.toLowerCase() === 'getupdates' && userAgent === 'singlepoll');

const entryOf = (result: Pick<Finished, 'stdout'>) =>
  (JSON.parse(result.stdout) as { probe: ProbeView }).probe;

/** Nothing was confirmed, and the kinds of updates were left as they were. */
function assertAskedHarmlessly(b: Bed): void {
  for (const { params } of ours(b)) assert.deepEqual(Object.keys(params).sort(), ['limit', 'timeout']);
  const others = new Set(b.sandbox.methods().filter((name) => name !== 'getupdates'));
  assert.deepEqual([...others].sort(), ['getme', 'getwebhookinfo']);
}

async function probed(b: Bed, args: readonly string[], ms = 40_000) {
  const result = await b.run(['who', '--json', ...args], { ms });
  assert.notEqual(result.stdout, '', result.stderr);
  assertNoToken(result.stdout + result.stderr, b.token);
  return { ...result, probe: entryOf(result) };
}

const near = (actual: number | null, expected: number, within: number) =>
  assert.ok(actual !== null && Math.abs(actual - expected) <= within, `${actual} is not about ${expected}`);

const waitsHere = (b: Bed) => until('the probe to wait', () => ours(b).length > 0);

describe('probe', () => {
  test('nobody: 0, held once for 10 s, what it disturbs said first', async (t) => {
    const b = await bed(t);
    const run = b.cli(['who', '--probe']);
    await waitsHere(b);
    assert.match(run.stderr(), NOTICE, 'said before the poll');
    const exit = await run.exit();
    assert.equal(exit.code, 0, run.seen());
    assert.match(run.stdout(), /^probe: none seen in 10 s:/m);
    assert.match(run.stdout(), /--probe=40/);
    const polls = ours(b);
    assert.equal(polls.length, 1);
    assert.equal(polls[0]?.params.timeout, '10');
    assert.ok((polls[0]?.endedAtMs ?? 0) - (polls[0]?.startedAtMs ?? 0) > 9_900);
    assertAskedHarmlessly(b);
    assertNoToken(run.seen(), b.token);
  });

  test('without --probe nothing is asked of Telegram, and the document says null', async (t) => {
    const b = await bed(t);
    const result = await b.run(['who', '--json']);
    assert.equal(result.code, 0);
    assert.equal(entryOf(result), null);
    assert.deepEqual(b.sandbox.methods(), []);
  });

  for (const [retryMs, leastSeconds, hint] of [
    [250, 3.2, /pyTelegramBotAPI/],
    [1_000, 3.9, /python-telegram-bot and aiogram/],
    [2_000, 4.9, /hand-written/],
  ] as const) {
    test(`a rival elsewhere that comes back ${retryMs} ms after a 409: 1, with its rhythm`, async (t) => {
      const b = await bed(t);
      const rival = startRival(t, b, working(retryMs));
      await until('the rival to poll', () => rival.polls > 0);
      const { probe, code, stderr } = await probed(b, ['--probe']);
      assert.equal(code, 1);
      assert.deepEqual([probe.result, probe.reason, probe.seconds], ['rival', null, 10]);
      // By the stand-in's own record; the rules make it at least this much.
      const kicks = ours(b).filter(({ status }) => status === 409);
      const ends = kicks.map(({ endedAtMs }) => (endedAtMs ?? 0) / 1000);
      const rhythm = ((ends.at(-1) ?? 0) - (ends[0] ?? 0)) / (ends.length - 1);
      near(probe.afterSeconds, (ends[0] ?? 0) - (kicks[0]?.startedAtMs ?? 0) / 1000, 0.5);
      near(probe.rhythmSeconds, rhythm, 0.5);
      near(probe.retrySeconds, rhythm - 3, 0.5);
      assert.ok((probe.afterSeconds ?? 0) >= leastSeconds && (probe.rhythmSeconds ?? 0) >= leastSeconds);
      assert.match(probe.message, /^rival seen after [\d.]+ s: .*about every [\d.]+ s/);
      assert.match(probe.message, hint);
      assert.match(stderr, NOTICE);
      assertAskedHarmlessly(b);
    });
  }

  test('a rival elsewhere, for people: what to do about it', async (t) => {
    const b = await bed(t);
    const rival = startRival(t, b, working(300));
    await until('the rival to poll', () => rival.polls > 0);
    const result = await b.run(['who', '--probe=5']);
    assert.equal(result.code, 1);
    assert.match(
      result.stdout,
      /nobody else on this machine.*\n(?:.*could not be inspected.*\n)?probe: rival seen after \d(\.\d)? s/,
    );
    assert.match(result.stdout, /polls from elsewhere/);
    assert.match(result.stdout, /\/revoke/);
    assert.match(result.stdout, /--probe=40 +# for its rhythm/);
  });

  test('updates wait and nobody fetches them: cannot tell, and they still wait', async (t) => {
    const b = await bed(t);
    const ids = [b.sandbox.text('one'), b.sandbox.text('two'), b.sandbox.text('three')];
    await b.sandbox.call('getUpdates', { allowed_updates: ['message'] });
    const { probe, code } = await probed(b, ['--probe=4']);
    assert.equal(code, 1);
    assert.deepEqual([probe.result, probe.reason], ['cannot-tell', 'updates']);
    assert.match(probe.message, /^cannot tell, updates are waiting/);
    // From the first one on: an offset of its own, since a repeated one would be answered with one update.
    const left = await b.sandbox.call<{ update_id: number }[]>('getUpdates', { offset: ids[0] });
    assert.deepEqual(
      left.map(({ update_id: id }) => id),
      ids,
    );
    const info = (await b.sandbox.webhookInfo()) as { allowed_updates?: string[] };
    assert.deepEqual(info.allowed_updates, ['message'], 'left as they were');
    assert.ok(ours(b).length <= 5);
  });

  test('a webhook is set: cannot tell, its host is named, its secret is not, nothing is polled', async (t) => {
    const b = await bed(t);
    await b.sandbox.setWebhook('https://hooks.example.com/s3cret-path-4711');
    const { probe, code, stdout, stderr } = await probed(b, ['--probe']);
    assert.equal(code, 1);
    assert.deepEqual([probe.result, probe.reason], ['cannot-tell', 'webhook']);
    assert.match(probe.message, /webhook is set \(https:\/\/hooks\.example\.com\/…\).*nobody can poll/);
    assert.doesNotMatch(stdout + stderr, /4711/);
    assert.equal(ours(b).length, 0);
    assert.doesNotMatch(stderr, NOTICE, 'nothing is disturbed');
    assert.equal((await b.sandbox.webhookInfo()).url, 'https://hooks.example.com/s3cret-path-4711');
  });

  test('a refused token, an API out of reach: cannot tell', async (t) => {
    const b = await bed(t);
    const gone = await probed(b, ['--probe=2', '--api-root', 'http://127.0.0.1:1']);
    assert.deepEqual([gone.probe.result, gone.probe.reason, gone.code], ['cannot-tell', 'api', 1]);
    assert.match(gone.probe.message, /ECONNREFUSED/);
    b.sandbox.raw.revoke(b.token);
    const refused = await probed(b, ['--probe']);
    assert.deepEqual([refused.probe.result, refused.probe.reason, refused.code], ['cannot-tell', 'token', 1]);
    assert.match(refused.probe.message, /401/);
  });

  test('beside a supervisor of ours that one renews its poll; its worker notices nothing', async (t) => {
    const b = await bed(t);
    await b.polling(['--', ...node('ends-on-409.mjs')]);
    const before = b.sandbox.polls().length;
    const { probe, code, stderr } = await probed(b, ['--probe']);
    assert.deepEqual([probe.result, code], ['none', 0], stderr);
    assert.match(probe.message, /nobody on this machine reacted when the supervisor renewed its poll/);
    assert.ok(b.sandbox.polls().length > before, 'the poll was renewed');
    assert.equal(ours(b).length, 0, 'with a poll of the worker');
    assert.ok(b.journal().every(({ ev }) => ev !== 'conflict'));
  });

  for (const [what, args] of [
    ['polls past the gateway', ['--no-gateway']],
    ['hangs', []],
  ] as const) {
    test(`beside a supervisor that ${what} it refuses with 75, and takes nothing`, async (t) => {
      const b = await bed(t);
      const run = await b.polling([...args, '--', ...node('polite.mjs')]);
      if (what === 'hangs') run.signal('SIGSTOP');
      const refused = await b.run(['who', '--probe', '--json']);
      run.signal('SIGCONT');
      assert.equal(refused.code, 75, refused.stdout + refused.stderr);
      assert.match(refused.stderr, new RegExp(`supervisor of bot ${b.botId} \\(pid ${run.pid}\\)`));
      assert.match(refused.stderr, /→ singlepoll status/);
      assert.equal(refused.stdout, '');
      assert.equal(ours(b).length, 0);
      assert.ok(b.sandbox.polls().every(({ status }) => status !== 409));
    });
  }

  test('a supervisor that starts meanwhile: cannot tell, and its worker polls on in peace', async (t) => {
    const b = await bed(t);
    const run = b.cli(['who', '--json', '--probe=30']);
    await waitsHere(b);
    const start = await b.polling(['--', ...node('retries-on-409.mjs')]);
    const exit = await run.exit();
    assert.equal(exit.code, 1, run.seen());
    const probe = entryOf({ stdout: run.stdout() });
    assert.deepEqual([probe.result, probe.reason], ['cannot-tell', 'supervisor']);
    assert.match(probe.message, new RegExp(`pid ${start.pid}`));
    assert.ok(ours(b).length <= 2, 'one of the probe, and the question of start');
    assert.ok(b.journal().every(({ ev }) => ev !== 'conflict'));
  });

  test('two probes at once: the second refuses, the first one is not disturbed', async (t) => {
    const b = await bed(t);
    const first = b.cli(['who', '--json', '--probe=4']);
    await waitsHere(b);
    const second = await b.run(['who', '--probe=4']);
    assert.equal(second.code, 75, second.stdout + second.stderr);
    assert.match(second.stderr, new RegExp(`another probe of this bot runs \\(pid ${first.pid}\\)`));
    assert.equal((await first.exit()).code, 0, first.seen());
    assert.equal(entryOf({ stdout: first.stdout() }).result, 'none');
  });

  test('SIGINT ends it at once with an answer; a rival that was seen before is told', async (t) => {
    const b = await bed(t);
    const quiet = b.cli(['who', '--probe=60']);
    await waitsHere(b);
    quiet.signal('SIGINT');
    assert.equal((await quiet.exit(10_000)).code, 130, quiet.seen());
    assert.match(quiet.stdout(), /probe: cannot tell: interrupted after/);
    assert.doesNotMatch(quiet.stderr(), /a bug|Error/);
    const rival = startRival(t, b, working(5_000));
    await until('the rival to poll', () => rival.polls > 0);
    const before = ours(b).length;
    const seen = b.cli(['who', '--json', '--probe=60']);
    await until('the second poll of this probe', () => ours(b).length === before + 2, { seen: seen.seen });
    seen.signal('SIGINT');
    assert.equal((await seen.exit(10_000)).code, 130, seen.seen());
    assert.equal(entryOf({ stdout: seen.stdout() }).result, 'rival');
  });

  test('a local stray is shown as ever, and the probe tells below that it polls', async (t) => {
    const b = await bed(t);
    const stray = legacyPoller(b, 'production_polling_bot.py');
    await until('it to poll', () => polledBy(b, 'production_polling_bot.py').length > 0);
    const result = await b.run(['who', '--probe']);
    assert.equal(result.code, 1);
    assert.match(result.stdout, new RegExp(`^proven +pid ${stray.pid}\\b[^]*^probe: rival seen after`, 'm'));
    assert.match(result.stdout, new RegExp(`it may be the process above \\(pid ${stray.pid}\\)`));
    assert.doesNotMatch(result.stdout, /no other poller found/);
  });

  test('real libraries: those that retry are seen with their rhythm', async (t) => {
    for (const [command, hint] of [
      [[PYTHON, botFixture('ptb.py')], /python-telegram-bot/],
      [[process.execPath, botFixture('ntba.mjs')], /node-telegram-bot-api/],
    ] as const) {
      const b = await bed(t);
      const bot = b.spawn(command[0], [command[1]], {
        env: { TELEGRAM_BOT_TOKEN: b.token, TELEGRAM_API_ROOT: b.sandbox.root },
      });
      await until('it to poll', () => b.sandbox.polls().length > 0, { seen: bot.seen, ms: 30_000 });
      const { probe, code } = await probed(b, ['--probe=12']);
      assert.deepEqual([probe.result, code], ['rival', 1], `${probe.message}\n${bot.seen()}`);
      assert.match(probe.message, hint);
      bot.signal('SIGKILL');
      await bot.exit();
    }
  });
});
