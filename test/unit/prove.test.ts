// Real pollers and senders against the Bot API stand-in: who reacts to a getUpdates of ours, as the kernel's counters show it.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { after, test } from 'node:test';
import { createInspector } from '../../src/strays/inspector.ts';
import { createProver } from '../../src/strays/prover.ts';
import { openBotApi } from '../../src/telegram/bot-api.ts';
import { openSandbox, type TestSandbox } from '../support/sandbox.ts';

const TOKEN = '110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw';
const OTHER = '220201543:BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw';
const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill('SIGKILL');
  inspector.close();
});

function run(source: string, args: readonly string[]): number {
  const child = spawn('python3', ['-c', source, ...args], { stdio: 'ignore' });
  children.add(child);
  return child.pid as number;
}

const CLIENT = `
import http.client, sys, time, json
host, port, token = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def ask(c, method, body, close=False):
    headers = {'Content-Type': 'application/json'}
    if close: headers['Connection'] = 'close'
    c.request('POST', '/bot%s/%s' % (token, method), json.dumps(body), headers)
    r = c.getresponse(); return r.status, json.loads(r.read())
`;
const KEPT_POLLER = `${CLIENT}
c = http.client.HTTPConnection(host, port)
while True:
    status, _ = ask(c, 'getUpdates', {'timeout': 30})
    if status != 200: time.sleep(float(sys.argv[4]))
`;
const CLOSING_POLLER = `${CLIENT}
while True:
    c = http.client.HTTPConnection(host, port)
    status, _ = ask(c, 'getUpdates', {'timeout': 30}, close=True)
    c.close()
    if status != 200: time.sleep(float(sys.argv[4]))
`;
const SENDER = `${CLIENT}
c = http.client.HTTPConnection(host, port)
while True:
    ask(c, sys.argv[4], {'chat_id': 1, 'text': 'order'})
    time.sleep(float(sys.argv[5]))
`;
const commands = async () => () => null;
const inspector = createInspector({ token: null, botId: '', patterns: [], scope: 'any', projectDir: '/' });

/** The experiment, with `isEnough` asked of what is known of each pid. */
async function ask(
  root: string,
  isEnough: (of: (pid: number) => string | undefined) => boolean = () => false,
) {
  const api = openBotApi(root, TOKEN);
  const prover = createProver({
    ...{ api, apiRoot: root, env: {}, addressFile: null },
    ...{ isOurs: (pid) => pid === process.pid, ownersOf: inspector.ownersOfSockets, commands },
  });
  const of = (pid: number) => prover.evidence().reactions.get(pid);
  const end = new AbortController();
  const outcome = await prover.experiment({
    holders: 0,
    isSuspect: () => false,
    beforeFirst: () => {},
    isEnough: async () => isEnough(of),
    signal: end.signal,
  });
  end.abort();
  api.close();
  return { outcome: outcome.kind, of, clients: prover.evidence().connected };
}

async function until(what: () => boolean): Promise<void> {
  const endMs = performance.now() + 20_000;
  while (!what()) {
    assert.ok(performance.now() < endMs, `never: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** A poll of somebody has been waiting for long enough to be one that is held. */
function isHeld(sandbox: TestSandbox): boolean {
  const last = sandbox.polls().at(-1);
  return last !== undefined && Date.now() - last.at > 700;
}

test('a poller reacts to each question, also one that closes at each answer; senders beside it do not', async (t) => {
  const sandbox = await openSandbox(TOKEN);
  t.after(() => sandbox.close());
  sandbox.raw.addBot(OTHER);
  const at = ['127.0.0.1', String(sandbox.port)];
  const poller = run(CLOSING_POLLER, [...at, TOKEN, '0.3']);
  const senders = [
    run(SENDER, [...at, TOKEN, 'sendMessage', '0.05']),
    run(SENDER, [...at, TOKEN, 'getMe', '1']),
    run(KEPT_POLLER, [...at, OTHER, '0.3']),
  ];
  await until(() => isHeld(sandbox));
  const steps: unknown[] = [];
  const twice = await ask(sandbox.root, (of) => {
    steps.push(of(poller));
    return of(poller) === 'twice';
  });
  assert.equal(twice.outcome, 'convicted', JSON.stringify(steps));
  assert.ok(steps.includes('once'), 'the first 409 was as long as a 409 is');
  for (const pid of senders) assert.equal(twice.of(pid), undefined);
  assert.ok(twice.clients.size >= 3, 'they were all there to be seen');
});

test('nobody else is connected: nothing is asked', async (t) => {
  const sandbox = await openSandbox(TOKEN);
  t.after(() => sandbox.close());
  assert.equal((await ask(sandbox.root)).outcome, 'nobody');
  assert.equal(sandbox.polls().length, 0);
});

test('only others are connected: one question, held undisturbed', async (t) => {
  const sandbox = await openSandbox(TOKEN);
  t.after(() => sandbox.close());
  sandbox.raw.addBot(OTHER);
  const other = run(KEPT_POLLER, ['127.0.0.1', String(sandbox.port), OTHER, '0.3']);
  await until(() => sandbox.requests().some(({ method }) => method === 'getUpdates'));
  const { outcome, of } = await ask(sandbox.root);
  assert.equal(outcome, 'undisturbed');
  assert.equal(sandbox.polls().length, 1);
  assert.equal(of(other), undefined);
});

test('updates wait: nothing is concluded, and none is confirmed', async (t) => {
  const sandbox = await openSandbox(TOKEN);
  t.after(() => sandbox.close());
  sandbox.raw.addBot(OTHER);
  run(KEPT_POLLER, ['127.0.0.1', String(sandbox.port), OTHER, '0.3']);
  await until(() => sandbox.requests().some(({ method }) => method === 'getUpdates'));
  sandbox.text('first');
  sandbox.text('second');
  assert.equal((await ask(sandbox.root)).outcome, 'updates');
  assert.equal((await sandbox.webhookInfo()).pending_update_count, 2);
});
