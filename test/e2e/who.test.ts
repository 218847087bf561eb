// `who` and `who --probe`: graded processes of this machine, rivals that no search finds, what a probe must not disturb or claim.
import assert from 'node:assert/strict';
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { StrayEntry } from '../../src/supervisor/status.ts';
import { type Bed, bed, type Finished, node, randomToken, type Words } from '../support/bed.ts';
import { assertNoToken } from '../support/judge.ts';
import { it, test, xit } from '../support/kinds.ts';
import { startRival, working } from '../support/rival.ts';
import { NOBODY } from '../support/squatter.ts';
import { assertStrayShape } from '../support/status.ts';
import { pollingStray, startHidden } from '../support/strays.ts';
import { until } from '../support/wait.ts';

interface ProbeView {
  seconds: number;
  result: 'rival' | 'none' | 'cannot-tell';
  reason: string | null;
  afterSeconds: number | null;
  rhythmSeconds: number | null;
  retrySeconds: number | null;
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

async function probed(b: Bed, code: number, args: Words) {
  const result = await b.exits(code, ['who', '--json', ...args]);
  assertNoToken(result.text, b.token);
  return { ...result, probe: entryOf(result) };
}

/** Nothing was confirmed, and the kinds of updates were left as they were. */
function assertAskedHarmlessly(b: Bed): void {
  for (const { params } of ours(b)) assert.deepEqual(Object.keys(params).sort(), ['limit', 'timeout']);
  const others = new Set(b.sandbox.methods().filter((name) => name !== 'getupdates'));
  assert.deepEqual([...others].sort(), ['getme', 'getwebhookinfo']);
}

const waitsHere = (b: Bed) => until('the probe to wait', () => ours(b).length > 0);

it('nobody is 0 and nothing is asked; the worker alone is 0; a stray is 1 with grade and proof, and the probe tells that it polls', async (b) => {
  const nobody = JSON.parse((await b.exits(0, 'who --json')).stdout);
  assert.deepEqual([nobody.strays, nobody.probe, b.sandbox.methods()], [[], null, []]);
  const stray = await pollingStray(b, 'production_polling_bot.py');
  // Who only reads knows that it is connected; that it polls is known once it was asked.
  for (const [args, grade] of [
    ['', 'likely'],
    [' --probe', 'proven'],
  ]) {
    const json = await b.exits(1, `who --json${args}`);
    const strays = (JSON.parse(json.stdout) as { strays: StrayEntry[] }).strays;
    for (const shown of strays) assertStrayShape(shown);
    assert.equal(strays.find(({ pid }) => pid === stray.pid)?.grade, grade);
    assertNoToken(json.text, b.token);
    const plain = await b.exits(1, `who${args}`);
    assert.match(plain.stdout, new RegExp(`^${grade} +pid ${stray.pid}\\b`, 'm'));
    if (grade === 'likely') continue;
    assert.match(plain.stdout, /^probe: rival seen after/m);
    assert.match(plain.stdout, new RegExp(`it may be the process above \\(pid ${stray.pid}\\)`));
    assert.doesNotMatch(plain.stdout, /no other poller found/);
  }
  await b.polling();
  await until('the stray to be gone', () => stray.ended());
  // Where the worker met it, the conflict is told of for a moment.
  await until('who to tell of nobody', async () => (await b.run('who')).code === 0);
});

for (const [run, how, retryS] of [
  [it, 'comes back', '0.2'],
  [xit, 'does not come back in time', '60'],
] as const) {
  /** On a busy machine a reaction may not be told from a slow answer: then it is asked again. */
  const seenToReact = (b: Bed, pattern: RegExp, options = {}) =>
    until('its reaction to be seen', async () => {
      const { stdout, code } = await b.run('who --probe=4', options);
      return pattern.test(stdout) ? { stdout, code } : null;
    });

  run(`probe: a poller here that has reacted once and ${how}: 1, it may poll`, async (b) => {
    const { pids } = await startHidden(b, 'hidden', { args: ['--at-409', retryS] });
    const [pid] = pids();
    const said = new RegExp(`^may poll: pid ${pid} .*\\n +→ connected, received something`, 'm');
    const { stdout, code } = await seenToReact(b, said);
    assert.equal(code, 1);
    assert.doesNotMatch(stdout, new RegExp(`does not poll: pid ${pid}|no other poller found`));
  });

  run(
    `probe: one of another user that reacts and ${how}: 1, with its user, and nothing of elsewhere`,
    async (b) => {
      if (process.getuid?.() !== 0) return;
      await startHidden(b, 'hidden', { args: ['--at-409', retryS] });
      const SINGLEPOLL_DIR = join(b.dir, 'theirs');
      mkdirSync(SINGLEPOLL_DIR, { mode: 0o700 });
      chownSync(SINGLEPOLL_DIR, NOBODY, NOBODY);
      const theirs = { env: { ...b.env, SINGLEPOLL_DIR }, uid: NOBODY, cwd: '/' };
      const said = /→ a process of user root polls this bot here, and this user may not see which/;
      const { stdout, code } = await seenToReact(b, said, theirs);
      assert.equal(code, 1);
      assert.doesNotMatch(stdout, /no other poller found/);
    },
  );
}

it('probe: nobody: 0, held once for its time, what it disturbs said first', async (b) => {
  const run = b.cli('who --probe=5');
  await waitsHere(b);
  assert.match(run.stderr(), NOTICE, 'said before the poll');
  await run.ends(0);
  assert.match(run.stdout(), /^probe: none seen in 5 s:/m);
  assert.match(run.stdout(), /--probe=40/);
  const polls = ours(b);
  assert.deepEqual([polls.length, polls[0]?.params.timeout], [1, '5']);
  assertAskedHarmlessly(b);
});

test('probe: a rival elsewhere that comes back 250 ms after a 409: 1, with its rhythm', async (t) => {
  const [leastSeconds, hint] = [3.2, /pyTelegramBotAPI/];
  const b = await bed(t);
  const rival = startRival(t, b, working(250));
  await until('the rival to poll', () => rival.polls > 0);
  const { probe, stderr } = await probed(b, 1, ['--probe']);
  assert.deepEqual([probe.result, probe.reason, probe.seconds], ['rival', null, 10]);
  // The rules make it at least this much; at most it is what the stand-in's own record shows.
  const ends = ours(b)
    .filter(({ status }) => status === 409)
    .map(({ endedAtMs }) => (endedAtMs ?? 0) / 1000);
  const gaps = ends.slice(1).map((end, i) => end - (ends[i] ?? 0));
  const { rhythmSeconds, retrySeconds, afterSeconds } = probe;
  assert.ok(rhythmSeconds !== null && retrySeconds !== null && (afterSeconds ?? 0) >= leastSeconds);
  assert.ok(rhythmSeconds >= leastSeconds && rhythmSeconds <= Math.max(...gaps) + 0.5, `${gaps}`);
  assert.ok(Math.abs(retrySeconds - (rhythmSeconds - 3)) <= 0.5);
  assert.match(probe.message, /^rival seen after [\d.]+ m?s: .*about every [\d.]+ s/);
  assert.match(probe.message, hint);
  assert.match(stderr, NOTICE);
  assertAskedHarmlessly(b);
  const { stdout } = await b.exits(1, 'who --probe=5');
  for (const pattern of [
    /nobody else (?:on this machine|among the)/,
    /polls from elsewhere/,
    /\/revoke/,
    /--probe=40 +# for its rhythm/,
  ])
    assert.match(stdout, pattern);
});

it('probe: updates that wait, a webhook, an API out of reach, a refused token: cannot tell, and all stays as it was', async (b) => {
  const ids = [b.sandbox.text('one'), b.sandbox.text('two'), b.sandbox.text('three')];
  await b.sandbox.call('getUpdates', { allowed_updates: ['message'] });
  const reason = async (args: string[]) => {
    const { probe, stderr } = await probed(b, 1, args);
    assert.equal(probe.result, 'cannot-tell');
    return { ...probe, stderr };
  };
  const waiting = await reason(['--probe=3']);
  assert.equal(waiting.reason, 'updates');
  assert.match(waiting.message, /^cannot tell, updates are waiting/);
  // From the first one on: an offset of its own, since a repeated one would be answered with one update.
  const left = await b.sandbox.call<{ update_id: number }[]>('getUpdates', { offset: ids[0] });
  assert.deepEqual(
    left.map(({ update_id: id }) => id),
    ids,
  );
  assert.equal(b.sandbox.raw.inject(b.token, { callback_query: {} }), 0, 'kinds were left as they were');

  const polls = ours(b).length;
  await b.sandbox.setWebhook('https://hooks.example.com/s3cret-path-4711');
  const webhook = await reason(['--probe']);
  assert.equal(webhook.reason, 'webhook');
  assert.match(webhook.message, /webhook is set \(https:\/\/hooks\.example\.com\/…\).*nobody can poll/);
  assert.doesNotMatch(webhook.stderr, NOTICE, 'nothing is disturbed');
  assert.equal(ours(b).length, polls);
  assert.equal((await b.sandbox.webhookInfo()).url, 'https://hooks.example.com/s3cret-path-4711');

  const gone = await reason(['--probe=2', '--api-root', 'http://127.0.0.1:1']);
  assert.equal(gone.reason, 'api');
  assert.match(gone.message, /ECONNREFUSED/);
  b.sandbox.raw.revoke(b.token);
  const refused = await reason(['--probe']);
  assert.equal(refused.reason, 'token');
  assert.match(refused.message, /401/);
});

it('probe: beside a supervisor that one renews its poll, its worker notices nothing; one that starts meanwhile polls on in peace', async (b) => {
  const meanwhile = b.cli('who --json --probe=30');
  await waitsHere(b);
  const start = await b.polling(['--', ...node('retries-on-409.mjs')]);
  await meanwhile.ends(1);
  const told = entryOf({ stdout: meanwhile.stdout() });
  assert.deepEqual([told.result, told.reason], ['cannot-tell', 'supervisor']);
  assert.match(told.message, new RegExp(`pid ${start.pid}`));
  const asked = ours(b).length;
  assert.ok(asked <= 2, 'one of the probe, and the question of start');
  const before = b.sandbox.polls().length;
  // However often it is asked: what no 409 precedes is no sign of somebody elsewhere.
  for (const _ of Array(2)) {
    const { probe } = await probed(b, 0, ['--probe=4']);
    assert.equal(probe.result, 'none');
    assert.match(probe.message, /reacted when the supervisor renewed its poll, and it holds the poll$/);
  }
  assert.doesNotMatch(start.stderr(), /elsewhere/);
  assert.ok(b.sandbox.polls().length > before, 'the poll was renewed');
  assert.equal(ours(b).length, asked, 'with a poll of the worker');
  assert.ok(b.journal().every(({ ev }) => ev !== 'conflict'));
  startRival(b.t, b, working(200));
  await until('the rival to take the poll', () => /another poller of this bot took/.test(start.stderr()));
  const rival = (await probed(b, 1, ['--probe'])).probe;
  assert.equal(rival.result, 'rival');
  assert.match(rival.message, /nobody on this machine reacted .*; (no other|another) poller/);
});

xit('probe: beside a supervisor that polls past the gateway or hangs, and beside another probe, it refuses with 75 and takes nothing', async (b) => {
  for (const args of ['--no-gateway', '']) {
    const run = await b.polling(args);
    if (args === '') run.signal('SIGSTOP');
    const { stdout, stderr } = await b.exits(75, 'who --probe --json');
    run.signal('SIGCONT');
    assert.match(
      stderr,
      new RegExp(`supervisor of bot ${b.botId} \\(pid ${run.pid}\\)[\\s\\S]*→ singlepoll status`),
    );
    assert.equal(stdout, '');
    assert.equal(ours(b).length, 0);
    await run.stop();
  }
  const first = b.cli('who --json --probe=5');
  await waitsHere(b);
  const { stderr } = await b.exits(75, 'who --probe=4');
  assert.match(stderr, new RegExp(`another probe of this bot runs \\(pid ${first.pid}\\)`));
  await first.ends(0);
  assert.equal(entryOf({ stdout: first.stdout() }).result, 'none');
});

it('who from anywhere, with --bot or without: as the bot was last started; without its token that is said', async (b) => {
  const { TELEGRAM_BOT_TOKEN: _, ...env } = b.env;
  b.file('.env', `BOT_TOKEN=${b.token}\n`);
  const run = await b.polling([], { env });
  const away = { cwd: b.dir, env: { ...env, BOT_TOKEN: randomToken() } };
  const found = JSON.parse((await b.exits(0, `who --json --bot ${b.botId}`, away)).stdout);
  assert.deepEqual([found.bot.id, found.supervisor.pid, found.strays], [b.botId, run.pid, []]);
  const bare = { cwd: b.dir, env };
  const only = JSON.parse((await b.exits(0, 'who --json', bare)).stdout);
  assert.equal(only.supervisor.pid, run.pid, 'the only one that runs, where no token is configured');
  await b.exits(78, 'who --token-file none', bare);
  b.file('.env', '');
  const { text } = await b.exits(78, 'who --bot project', away);
  assert.match(
    text,
    new RegExp(`the token of bot ${b.botId} is neither in .*/project nor in the environment`),
  );
  await run.stop();

  const demo = b.start('--sandbox', { env });
  await demo.waitFor(/\[poll\] worker \d+ polls/);
  const { stderr } = await b.exits(78, 'who', bare);
  const [hint = ''] = /(?<=→ singlepoll )status \d+/.exec(stderr) ?? [];
  assert.match((await b.exits([0, 1], hint, bare)).stdout, /: polling/, stderr);
  await demo.stop();
});
