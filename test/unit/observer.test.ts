// Real pollers, senders and relays against the Bot API stand-in: who reacts to a getUpdates of ours, as the kernel's counters show it.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { after, test } from 'node:test';
import { findApiAddresses } from '../../src/strays/api-addresses.ts';
import { observe, type Seen } from '../../src/strays/observer.ts';
import { strengthOf } from '../../src/strays/reactions.ts';
import { openBotApi } from '../../src/telegram/api.ts';
import { openSandbox } from '../support/sandbox.ts';

const TOKEN = '110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw';
const OTHER = '220201543:BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw';
const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill('SIGKILL');
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
const RELAY = `
import socket, sys, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('127.0.0.1', int(sys.argv[3]))); s.listen()
def pump(a, b):
    while True:
        d = a.recv(65536)
        if not d: break
        b.sendall(d)
    try: b.shutdown(1)
    except OSError: pass
while True:
    a, _ = s.accept(); b = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    threading.Thread(target=pump, args=(a, b), daemon=True).start()
    threading.Thread(target=pump, args=(b, a), daemon=True).start()
`;

/** Who of these pids has a socket: the kernel's own answer. */
async function ownersOf(inodes: readonly number[]) {
  const owners = new Map<number, number[]>();
  for (const { pid } of children) {
    let names: string[] = [];
    try {
      names = readdirSync(`/proc/${pid}/fd`);
    } catch {}
    for (const name of names) {
      try {
        const inode = Number(/socket:\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/fd/${name}`))?.[1]);
        if (inodes.includes(inode)) owners.set(inode, [...(owners.get(inode) ?? []), pid as number]);
      } catch {}
    }
  }
  return owners;
}

/** Pokes `times` times, each when `ready`; what was seen, with the number of the poke. */
async function pokes(root: string, times: number, ready: () => boolean) {
  const api = openBotApi(root, TOKEN);
  const addresses = await findApiAddresses({ apiRoot: root, env: {}, file: null });
  const seen: { poke: number; seen: Seen }[] = [];
  const ends: Promise<void>[] = [];
  for (let poke = 1; poke <= times; poke++) {
    const until = performance.now() + 20_000;
    while (!ready() && performance.now() < until) await new Promise((done) => setTimeout(done, 50));
    const me = await api.call('getMe');
    assert.equal(me.kind, 'ok');
    const { rttMs, conflictBytes } = {
      rttMs: 20,
      conflictBytes: me.kind === 'ok' ? (me.conflictBytes ?? null) : null,
    };
    const observation = await observe({ addresses, isOurs: () => false, ownersOf });
    assert.ok(observation);
    const end = new AbortController();
    const polled = api.call('getUpdates', { timeout: 4, limit: 1 }, { signal: end.signal });
    const over = observation.poked(
      { sentAtMs: performance.now(), rttMs, conflictBytes },
      (it) => seen.push({ poke, seen: it }),
      new AbortController().signal,
    );
    ends.push(over.then(() => observation.stop()));
    await Promise.race([polled, new Promise((done) => setTimeout(done, 1_500))]);
    end.abort();
    await polled;
    await over;
  }
  await Promise.all(ends);
  api.close();
  return seen;
}

function strength(seen: readonly { poke: number; seen: Seen }[], pid: number) {
  const last = new Map<string, { poke: number; reaction: Seen['reaction'] }>();
  for (const it of seen) {
    if (it.seen.client.owner?.pid === pid)
      last.set(`${it.poke} ${it.seen.client.key}`, { poke: it.poke, reaction: it.seen.reaction });
  }
  return strengthOf([...last.values()]);
}

for (const [name, source] of [
  ['keeps its connection', KEPT_POLLER],
  ['closes at each answer', CLOSING_POLLER],
] as const) {
  test(`a poller that ${name} reacts; senders beside it do not, whatever they wait for`, async (t) => {
    const sandbox = await openSandbox(TOKEN);
    sandbox.raw.addBot(OTHER);
    t.after(() => sandbox.close());
    const at = ['127.0.0.1', String(sandbox.port)];
    const poller = run(source, [...at, TOKEN, '0.3']);
    const senders = [
      run(SENDER, [...at, TOKEN, 'sendMessage', '0.05']),
      run(SENDER, [...at, TOKEN, 'getMe', '1']),
    ];
    const heldFor = () => {
      const last = sandbox.polls().at(-1);
      return last !== undefined && Date.now() - last.at > 700;
    };
    const seen = await pokes(sandbox.root, 2, heldFor);
    assert.equal(strength(seen, poller), 'twice', JSON.stringify(seen));
    assert.equal(
      strength(
        seen.filter((it) => it.poke === 1),
        poller,
      ),
      'once',
      JSON.stringify(seen),
    );
    for (const pid of senders) assert.equal(strength(seen, pid), null);
  });
}

test('a relay passes our 409 on and is none; the poller behind it is not seen', async (t) => {
  const sandbox = await openSandbox(TOKEN);
  t.after(() => sandbox.close());
  const relayPort = 20_000 + (process.pid % 20_000);
  const relay = run(RELAY, ['127.0.0.1', String(sandbox.port), String(relayPort)]);
  const until = performance.now() + 10_000;
  run(
    `import time, socket\nfor _ in range(200):\n    try: socket.create_connection(('127.0.0.1', ${relayPort})).close(); break\n    except OSError: time.sleep(.05)\n${KEPT_POLLER}`,
    ['127.0.0.1', String(relayPort), TOKEN, '0.3'],
  );
  const heldFor = () => {
    const last = sandbox.polls().at(-1);
    return last !== undefined && Date.now() - last.at > 700;
  };
  while (!heldFor() && performance.now() < until) await new Promise((done) => setTimeout(done, 50));
  const seen = await pokes(sandbox.root, 2, heldFor);
  assert.equal(strength(seen, relay), null, JSON.stringify(seen));
});
