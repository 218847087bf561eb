// 409, handled where it arises: a poller elsewhere that goes, one that stays, a webhook that somebody sets, updates that somebody takes
// without a 409. The worker (it ends at its first 409) never sees any of it; the log, status, who and the metrics tell.
import assert from 'node:assert/strict';
import { type Bed, node, PYTHON } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import {
  allHandled,
  assertOnePoll,
  gatewayOf,
  handledCounts,
  linesOf,
  messages,
  ourPolls,
  problemOf,
  RIVAL_AFTER,
  troubles,
} from '../support/gateway.ts';
import { get, httpPort } from '../support/http.ts';
import { assertInOrder, assertNoToken, starts } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { findByEnv } from '../support/proc.ts';
import { startRival } from '../support/rival.ts';
import { staysTrue, until } from '../support/wait.ts';

const ENDS = ['--', ...node('ends-on-409.mjs')];
/** A second fight soon after the first says that it is back. */
const BEGINS = /\[gateway\] (another poller|the other poller .*is back)/i;
const GONE = /\[gateway\].*\bgone\b/i;
const STAYS = /^\[(gateway|rival)\].*\brival:/im;
/** An early 409 may be held for 3 s: the time that makes an incumbent (two thirds of this) must be longer. */
const SOON = '9s';
const INCUMBENT_MS = 7_500;

/** A run that has polled undisturbed for so long that it is the incumbent. */
async function incumbent(b: Bed, args: readonly string[] = []): Promise<Running> {
  b.env[RIVAL_AFTER] = SOON;
  const run = await b.polling([...args, ...ENDS]);
  await staysTrue('it polls in peace', INCUMBENT_MS, () => run.ended() === null);
  return run;
}

function assertNothingSeen(b: Bed): void {
  assert.deepEqual(troubles(b), []);
  assert.equal(starts(b.journal()).length, 1, 'one worker all the time');
  assertOnePoll(b);
}

it('a rival for 5 s: one line at its start, one at its end', async (b) => {
  const run = await b.polling(ENDS);
  const rival = startRival(b.t, b, { pauseMs: 5 });
  const ids = await messages(b, run, 'm', 5, 1_000);
  const during = await b.status();
  await rival.leave();
  await allHandled(b, ids, run, 30_000);
  await run.waitFor(GONE);
  await b.serves(run);
  assert.deepEqual(new Set(handledCounts(b, ids)), new Set([1]));
  assertNothingSeen(b);
  assertInOrder(run.stderr(), [BEGINS, GONE]);
  assert.equal(linesOf(run.stderr(), BEGINS).length, 1, run.stderr());
  assert.equal(linesOf(run.stderr(), GONE).length, 1, run.stderr());
  assert.doesNotMatch(run.stderr(), STAYS);
  assert.equal(during.state, 'polling');
  assert.ok(problemOf(during, 'conflict'), JSON.stringify(during.problems));
  const after = await b.status();
  assert.deepEqual([after.problems, after.healthy], [[], true]);
  const lost = ourPolls(b).filter((poll) => poll.status === 409 && poll.clientGoneAtMs === null).length;
  assert.ok(lost > 0, 'the rival did kick us');
  assert.deepEqual(gatewayOf(after).conflicts, { poller: lost, webhook: 0 });
});

it('a rival that stays: a newcomer stops its worker, ends with 75, and keeps away', async (b) => {
  b.env[RIVAL_AFTER] = SOON;
  const rival = startRival(b.t, b);
  await until('the rival to poll', () => b.sandbox.polls().length > 0);
  const run = await b.polling();
  await run.ends(75);
  assert.match(run.stderr(), STAYS);
  assert.match(run.stderr(), /about every|every about|every ~/i);
  assert.deepEqual(troubles(b), []);
  assert.ok(b.journal().some((entry) => entry.ev === 'signal' && entry.signal === 'SIGTERM'));
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  assertNoToken(run.stderr() + run.stdout(), b.token);
  // The server may hold the last 409 back for 3 s.
  const kicked = rival.conflicts;
  await staysTrue('the rival polls in peace', 3_500, () => rival.conflicts - kicked <= 1);
});

it('a rival that stays: an incumbent insists and reports, until the rival is gone; who tells, too', async (b) => {
  const run = await incumbent(b);
  const rival = startRival(b.t, b);
  await run.waitFor(BEGINS);
  await b.exits(1, 'who');
  await run.waitFor(STAYS);
  const ids = await messages(b, run, 'm', 3, 700);
  const view = JSON.parse((await b.exits(1, 'status --json')).stdout);
  assert.equal(view.healthy, false);
  assert.match(problemOf(view, 'rival') ?? '', /poller|rival/i);
  assert.match((await b.exits(1, 'who')).stdout, /a rival takes the poll.*\n\s+→ stop the other one/);
  assert.equal(JSON.parse((await b.exits(1, 'who --json')).stdout).problems[0].code, 'rival');
  await rival.leave();
  await run.waitFor(GONE);
  await b.serves(run);
  await allHandled(b, ids, run, 30_000);
  assert.deepEqual(new Set(handledCounts(b, ids)), new Set([1]));
  const after = await b.status();
  assert.deepEqual([after.healthy, problemOf(after, 'rival')], [true, null]);
  assertNothingSeen(b);
});

xit('--on-rival yield: an incumbent goes with 75', async (b) => {
  const run = await incumbent(b, ['--on-rival', 'yield']);
  startRival(b.t, b);
  await run.ends(75);
  assert.match(run.stderr(), STAYS);
  assert.doesNotMatch(run.stderr(), /newcomer/i);
  assert.deepEqual(troubles(b), []);
});

it('a webhook set while polling, or between two polls, is cleared, the poll goes on, the worker sees no 409', async (b) => {
  const run = await b.polling(['--', ...node('poll-every.mjs', '20', '700')]);
  for (const pause of [false, true]) {
    const open = () => ourPolls(b).filter((poll) => poll.endedAtMs === null).length;
    if (pause) await b.serves(run);
    await until('the moment', () => open() === (pause ? 0 : 1), { everyMs: 1 });
    await b.sandbox.setWebhook(`https://thief-${pause}.example.com/s3cret-path`);
    await b.serves(run);
    assert.equal((await b.sandbox.webhookInfo()).url, '');
    await run.waitFor(`thief-${pause}.example.com`);
  }
  assert.doesNotMatch(run.stderr(), /s3cret-path/);
  const { conflicts } = gatewayOf(await b.status());
  assert.ok(conflicts.webhook >= 1 && conflicts.poller === 0, JSON.stringify(conflicts));
  assertNothingSeen(b);
  for (const request of b.sandbox.requests())
    assert.doesNotMatch(request.params.drop_pending_updates ?? 'false', /^(true|1|yes)$/i);
});

it('with --keep-webhook one that appears is left alone: 78, and the worker saw no 409', async (b) => {
  const run = await b.polling(['--keep-webhook', ...ENDS]);
  await b.sandbox.setWebhook('https://wanted.example.com/s3cret-path');
  await run.ends(78);
  assert.match(run.stderr(), /wanted\.example\.com/);
  assert.doesNotMatch(run.stderr(), /s3cret-path/);
  assert.equal((await b.sandbox.webhookInfo()).url, 'https://wanted.example.com/s3cret-path');
  assert.deepEqual(troubles(b), []);
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
});

/** A bot whose handler of `work` takes until the file `go` is there. */
const BUSY_BOT = `
import json, os, time, urllib.parse, urllib.request
url = os.environ["TELEGRAM_API_ROOT"] + "/bot" + os.environ["TELEGRAM_BOT_TOKEN"] + "/getUpdates?"
offset = 0
while True:
    with urllib.request.urlopen(url + urllib.parse.urlencode({"offset": offset, "timeout": 20})) as answer:
        updates = json.load(answer)["result"]
    for update in updates:
        offset = update["update_id"] + 1
        text = update["message"]["text"]
        print("handles " + text, flush=True)
        while text == "work" and not os.path.exists("go"):
            time.sleep(0.05)
`;

/** Its settings are its own business: neither its environment nor its arguments hold the token. A second consumer, slower than the
 * server's 3 s, or one call with an offset, as in a health check. */
const THIEF = `
import json, time, urllib.request
settings = json.load(open("thief.json"))
def ask(offset):
    with urllib.request.urlopen("%s/getUpdates?timeout=0&offset=%d" % (settings["bot"], offset)) as answer:
        return json.load(answer)["result"]
offset = settings["offset"]
for turn in range(settings["calls"]):
    if turn > 0:
        time.sleep(3.2)
    for update in ask(offset):
        offset = update["update_id"] + 1
print("done", flush=True)
`;

async function busyWorker(b: Bed, args: readonly string[] = []): Promise<Running> {
  b.file('bot.py', BUSY_BOT);
  const run = await b.polling([...args, '--', PYTHON, 'bot.py']);
  b.sandbox.text('work');
  await run.waitFor('handles work');
  return run;
}

it('a thief that does not wait, or calls once with an offset: told with the next answer, in status, alerts and metrics', async (b) => {
  b.env.ASSISTANT_ADMIN_TELEGRAM_ID = '42';
  const run = await busyWorker(b, ['--http', '0']);
  const steal = async (calls: number, offset: number) => {
    b.file('thief.json', JSON.stringify({ bot: `${b.sandbox.root}/bot${b.token}`, offset, calls }));
    await b.spawn(PYTHON, [b.file('thief.py', THIEF)]).waitFor('done');
  };
  for (const text of ['a', 'b', 'c']) b.sandbox.text(text);
  await steal(3, 0);
  assert.equal(gatewayOf(await b.status()).stolen, 0, 'nothing can be known yet');
  b.file('go', '');
  b.sandbox.text('next');
  await run.waitFor('handles next');
  await run.waitFor(/\[gateway\] 3 updates were probably taken by somebody who polls without waiting/);
  const status = await b.status();
  const { stolen, conflicts } = gatewayOf(status);
  assert.deepEqual([stolen, conflicts], [3, { poller: 0, webhook: 0 }]);
  assert.match(problemOf(status, 'stolen') ?? '', /^3 updates were probably taken/);
  assert.deepEqual([status.state, status.healthy], ['polling', false], 'shown, and nothing is ended for it');
  assert.match((await b.run('status')).stdout, /3 updates taken by somebody else/);
  assert.doesNotMatch(run.stdout(), /handles [abc]$/m);
  const told = await until('the alert', () =>
    b.sandbox.raw.sent.find(({ chatId, text }) => chatId === '42' && text.startsWith('updates taken: ')),
  );
  assert.match(told.text, /\n3 updates probably taken by somebody who polls without waiting/);
  const metrics = await get(await httpPort(run), '/metrics');
  assert.match(metrics.body, /^singlepoll_updates_stolen_total 3$/m);
});

xit('nobody is called a thief beside senders, filtered kinds and a restart', async (b) => {
  const run = await busyWorker(b);
  for (const text of ['a', 'b']) {
    b.sandbox.text(text);
    await b.sandbox.call('sendMessage', { chat_id: 7, text: `seen ${text}` });
    const kept = b.sandbox.raw.inject(b.token, { message_reaction: { chat: { id: 7, type: 'private' } } });
    assert.equal(kept, 0, 'not one of the kinds that were asked for: it has no number');
  }
  b.file('go', '');
  b.sandbox.text('next');
  await run.waitFor('handles next');
  await b.run('restart');
  b.sandbox.text('after the restart');
  await run.waitFor('handles after the restart');
  const status = await b.status();
  assert.equal(gatewayOf(status).stolen, 0);
  assert.deepEqual(status.problems, []);
  assert.doesNotMatch(run.stderr(), /probably taken/);
});
