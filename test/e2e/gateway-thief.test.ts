// Somebody asks for updates without waiting, while the worker is busy: nobody gets a 409, and yet it is told, with the number.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Bed, bed, PYTHON } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { gatewayOf, problemOf } from '../support/gateway.ts';
import { freePort } from '../support/strays.ts';
import { until } from '../support/wait.ts';

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

/** Its settings are its own business: neither its environment nor its arguments hold the token. */
const THIEF = `
import json, time, urllib.request
settings = json.load(open("thief.json"))
def ask(offset):
    with urllib.request.urlopen("%s/getUpdates?timeout=0&offset=%d" % (settings["bot"], offset)) as answer:
        return json.load(answer)["result"]
`;
/** A second consumer, slower than the server's 3 s. */
const LOOP = `${THIEF}
offset = 0
for _ in range(3):
    for update in ask(offset):
        offset = update["update_id"] + 1
    time.sleep(3.2)
print("done", flush=True)
`;
/** A call in a health check. */
const ONCE = `${THIEF}
ask(settings["offset"])
print("done", flush=True)
`;

async function busyWorker(b: Bed, args: readonly string[] = []): Promise<Running> {
  b.file('bot.py', BUSY_BOT);
  const run = await b.polling([...args, '--', PYTHON, 'bot.py']);
  b.sandbox.text('work');
  await run.waitFor('handles work');
  return run;
}

async function steal(b: Bed, script: string, offset = 0): Promise<void> {
  b.file('thief.json', JSON.stringify({ bot: `${b.sandbox.root}/bot${b.token}`, offset }));
  b.file('thief.py', script);
  await b.spawn(PYTHON, ['thief.py']).waitFor('done', 30_000);
}

describe('gateway, thieves', () => {
  test('gateway: three updates go to a consumer that does not wait: told with the next answer', async (t) => {
    const b = await bed(t);
    b.env.ASSISTANT_ADMIN_TELEGRAM_ID = '42';
    const run = await busyWorker(b);
    for (const text of ['a', 'b', 'c']) b.sandbox.text(text);
    await steal(b, LOOP);
    assert.equal(gatewayOf(await b.status()).stolen, 0, 'nothing can be known yet');
    b.file('go', '');
    b.sandbox.text('next');
    await run.waitFor('handles next');
    await run.waitFor(/\[gateway\] 3 updates were probably taken by somebody who polls without waiting/);

    const status = await b.status();
    const { stolen, conflicts } = gatewayOf(status);
    assert.equal(stolen, 3);
    assert.deepEqual(conflicts, { poller: 0, webhook: 0 });
    assert.match(problemOf(status, 'stolen') ?? '', /^3 updates were probably taken/);
    assert.deepEqual(
      [status.state, status.healthy],
      ['polling', false],
      'shown, and nothing is ended for it',
    );
    assert.match((await b.run(['status'])).stdout, /3 updates taken by somebody else/);
    assert.doesNotMatch(run.stdout(), /handles [abc]$/m);
    const told = await until('the alert', () =>
      b.sandbox.raw.sent.find(({ chatId, text }) => chatId === '42' && text.startsWith('updates taken: ')),
    );
    assert.match(told.text, /\n3 updates were probably taken by somebody who polls without waiting/);
  });

  test('gateway: one call with an offset takes what waits, each time; the metrics count', async (t) => {
    const b = await bed(t);
    const port = await freePort();
    const run = await busyWorker(b, ['--http', String(port)]);
    b.sandbox.text('a');
    await steal(b, ONCE, b.sandbox.text('b') + 1);
    b.file('go', '');
    b.sandbox.text('next');
    await run.waitFor(/\[gateway\] 2 updates were probably taken/);
    assert.equal(gatewayOf(await b.status()).stolen, 2);
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    assert.match(metrics, /^singlepoll_updates_stolen_total 2$/m);
  });

  test('gateway: nobody is called a thief beside senders, filtered kinds and a restart', async (t) => {
    const b = await bed(t);
    const run = await busyWorker(b);
    for (const text of ['a', 'b']) {
      b.sandbox.text(text);
      await b.sandbox.call('sendMessage', { chat_id: 7, text: `seen ${text}` });
      await b.sandbox.call('getMe');
      const kept = b.sandbox.raw.inject(b.token, { message_reaction: { chat: { id: 7, type: 'private' } } });
      assert.equal(kept, 0, 'not one of the kinds that were asked for: it has no number');
    }
    b.file('go', '');
    b.sandbox.text('next');
    await run.waitFor('handles next');
    await b.run(['restart']);
    b.sandbox.text('after the restart');
    await run.waitFor('handles after the restart');
    const status = await b.status();
    assert.equal(gatewayOf(status).stolen, 0);
    assert.deepEqual(status.problems, []);
    assert.doesNotMatch(run.stderr(), /probably taken/);
  });
});
