// The steps of `start` in order, what is said of each, what the worker gets; `status`, `stop` and `restart`: shapes and exit codes.
import assert from 'node:assert/strict';
import type { StatusDocument } from '../../src/supervisor/status.ts';
import { allGone, type Bed, node, POLITE } from '../support/bed.ts';
import { assertInOrder, assertNeverTwo, assertNoControls, assertNoToken, handled } from '../support/judge.ts';
import { it } from '../support/kinds.ts';
import { alive, findByEnv } from '../support/proc.ts';
import { assertStatusShape } from '../support/status.ts';
import { legacyPoller, polledBy, pollingStray } from '../support/strays.ts';
import { until } from '../support/wait.ts';

interface ShownEnv {
  argv: string[];
  cwd: string;
  env: Record<string, string>;
  tokenLength: number;
  pid: number;
  pgid: number;
  stdinIsTerminal: boolean;
  stdinFile: boolean;
}

const shownEnvs = (stdout: string): ShownEnv[] =>
  stdout
    .split('\n')
    .filter((text) => text.startsWith('ENV '))
    .map((line) => JSON.parse(line.slice(4)));

it('start: bot, lock, webhook, worker in this order, updates kept, no token said; a dry run changes nothing', async (b) => {
  const url = 'https://hooks.example.com/hidden-path-4711/x?key=k-4711';
  await b.sandbox.setWebhook(url);
  const ids = ['one', 'two', 'three'].map((text) => b.sandbox.text(text));
  const stray = legacyPoller(b, 'stray_bot.py');
  await until('the stray to try', () => b.sandbox.polls().length > 0);
  const dry = await b.exits(0, ['start', '--dry-run', '--stray', 'stray_bot', ...POLITE]);
  assert.match(dry.text, new RegExp(`would stop pid ${stray.pid} .*\\n.*declared: .*holds the token`));
  assert.match(dry.text, /hooks\.example\.com/);
  assertNoToken(dry.text, b.token);
  assert.deepEqual([alive(stray.pid), (await b.sandbox.webhookInfo()).url], [true, url]);
  assert.ok(!b.sandbox.methods().includes('deletewebhook'));
  assert.equal(polledBy(b, 'polite.mjs').length, 0, 'no worker was started');
  await b.exits(3, 'status --json');

  const run = b.start();
  // While the webhook is set nobody can poll: the stray is seen once it takes the poll from the worker.
  await allGone([stray.pid]);
  await until('every update to be handled', () => ids.every((id) => handled(b.journal()).has(id)), run);
  // The stray may have handled them, between the webhook and its end.
  await until('the worker to poll', () => polledBy(b, 'polite.mjs').length > 0, run);
  const me = await b.sandbox.call<{ username: string }>('getMe');
  const text = run.stderr();
  const first = text.split('\n')[0] ?? '';
  for (const word of [`@${me.username}`, String(b.botId), 'TELEGRAM_BOT_TOKEN'])
    assert.ok(first.includes(word), first);
  assertInOrder(text, [new RegExp(`@${me.username}`), /lock/i, /hooks\.example\.com/, /worker/i]);
  assert.match(text, new RegExp(`stopping pid ${stray.pid} `));
  assert.ok(!text.includes('4711'), `the secret of the webhook's path is shown:\n${text}`);
  assertNoToken(text + run.stdout(), b.token);
  assert.equal((await b.sandbox.webhookInfo()).url, '');
  await run.stop();
});

it('start: a stray that holds the poll is asked for and stopped after the lock and before the worker; heartbeats', async (b) => {
  const stray = await pollingStray(b, 'stray_bot.py');
  const run = b.start('--heartbeat 300ms');
  await until('the worker to poll', () => polledBy(b, 'polite.mjs').length > 0, run);
  assert.equal(alive(stray.pid), false, 'the stray is gone');
  assertInOrder(run.stderr(), [
    /lock/i,
    /connected to the Bot API here: asking getUpdates once/,
    new RegExp(`stopping pid ${stray.pid} \\(`),
    /proven: .*received the answer/,
    /gone: 1 process/,
    /\[worker\]/,
  ]);
  assertNeverTwo(b, 'polite.mjs');
  await until('three heartbeats', () => run.stderr().split('[hb] alive offset=').length > 3, run);
});

it('start: what the worker is given; SINGLEPOLL_RUN is new in each run, SINGLEPOLL_SPAWN counts within it', async (b) => {
  const argv = ['--flag', 'a b', '', '$HOME', '--', '-x'];
  const run = await b.polling(['--backoff', '10ms,50ms', '--', ...node('prints-env.mjs', ...argv)]);
  const nth = (count: number, of = run) =>
    until('its environment', () => shownEnvs(of.stdout())[count - 1], of);
  const shown = await nth(1);
  const { env } = shown;
  assert.deepEqual([shown.argv, shown.cwd], [argv, b.project]);
  assert.match(env.TELEGRAM_API_ROOT ?? '', /^http:\/\/127\.0\.0\.1:\d+$/, 'the gateway');
  assert.notEqual(env.TELEGRAM_API_ROOT, b.sandbox.root);
  const { POLLING_ENABLED, PYTHONUNBUFFERED, SINGLEPOLL_BOT, SINGLEPOLL_SPAWN, SP_TEST_COOKIE } = env;
  assert.deepEqual([POLLING_ENABLED, PYTHONUNBUFFERED, SINGLEPOLL_SPAWN], ['1', '1', '1']);
  assert.deepEqual([SINGLEPOLL_BOT, SP_TEST_COOKIE], [String(b.botId), b.cookie], 'everything that we got');
  assert.match(env.SINGLEPOLL_RUN ?? '', /\S{6,}/);
  assert.equal(shown.tokenLength, b.token.length);
  for (const name of Object.keys(env)) assert.doesNotMatch(name, /^NODE_CHANNEL/);
  assert.equal(shown.pgid, shown.pid, 'a process group of its own');
  assert.deepEqual([shown.stdinIsTerminal, shown.stdinFile], [false, true], 'stdin is /dev/null');
  process.kill(shown.pid, 'SIGKILL');
  const after = await nth(2);
  assert.deepEqual([after.env.SINGLEPOLL_RUN, after.env.SINGLEPOLL_SPAWN], [env.SINGLEPOLL_RUN, '2']);
  await run.stop();
  const next = await nth(1, b.start(['--', ...node('prints-env.mjs')]));
  assert.notEqual(next.env.SINGLEPOLL_RUN, env.SINGLEPOLL_RUN);
  assert.equal(next.env.SINGLEPOLL_SPAWN, '1');
  assertNeverTwo(b);
});

async function look(b: Bed, code: number): Promise<StatusDocument> {
  const { stdout, text } = await b.exits(code, 'status --json');
  assertNoToken(text, b.token);
  const status = JSON.parse(stdout) as StatusDocument;
  assertStatusShape(status);
  assert.equal(code === 0, status.healthy && status.state !== 'stopped', stdout);
  return status;
}

it('a dry run names who is connected and would be asked, and asks nobody', async (b) => {
  const stray = await pollingStray(b, 'production_polling_bot.py');
  const { text } = await b.exits(0, ['start', '--dry-run', ...POLITE]);
  assert.match(text, new RegExp(`would ask: pid ${stray.pid} .* may poll: holds the token, connected`));
  assert.deepEqual(polledBy(b, 'production_polling_bot.py'), [stray.pid]);
  assert.equal(alive(stray.pid), true);
});

it('status: stopped is 3, with bot, webhook and strays all the same', async (b) => {
  const stray = await pollingStray(b, 'production_polling_bot.py');
  await b.sandbox.setWebhook('https://hooks.example.com/s3cret-path-4711');
  b.sandbox.text('waits');
  // A webhook turns its polls away, so it is connected only now and then; before that it is a mere hint.
  const status = await until('a look while the stray asks', async () => {
    const it = await look(b, 3);
    return it.strays?.some(({ pid }) => pid === stray.pid) ? it : null;
  });
  assert.deepEqual([status.state, status.bot?.id, status.supervisor], ['stopped', b.botId, null]);
  assert.deepEqual([status.worker, status.polling], [null, null]);
  assert.match(status.webhook?.url ?? '', /hooks\.example\.com/);
  assert.doesNotMatch(JSON.stringify(status), /4711/, 'the secret in the path is masked');
  assert.equal(status.webhook?.pendingUpdates, 1);
  const shown = status.strays?.find(({ pid }) => pid === stray.pid);
  assert.deepEqual([shown?.grade, shown?.cwd], ['likely', b.project], 'nobody was asked whether it polls');
  assert.ok((shown?.proof.length ?? 0) >= 2);
  assert.match(shown?.command ?? '', /python3 .*production_polling_bot\.py/);
  const { stdout } = await b.exits(3, 'status');
  assert.match(stdout, /not running\n {2}→ singlepoll start -- COMMAND\n/);
  assertNoControls(stdout);
});

it('status: polling is 0, everything filled in; works while Telegram is out of reach; a worker that never polled is starting', async (b) => {
  const idle = b.start('-- sleep 1000');
  await idle.waitFor(/\[worker\] started/);
  assert.equal((await b.status()).state, 'starting');
  await b.exits(0, 'stop');
  const command = [...node('setsid-child.mjs'), "it's $one word"];
  const run = await b.polling(['--', ...command]);
  await until('its children', () => b.journal().some((entry) => entry.text?.startsWith('children')));
  await until('the state polling', async () => (await b.status()).state === 'polling', run);
  const status = await look(b, 0);
  const me = await b.sandbox.call<{ username: string }>('getMe');
  assert.deepEqual(status.bot, { id: b.botId, username: me.username });
  const { supervisor, worker, polling } = status;
  assert.deepEqual([supervisor?.pid, supervisor?.cwd], [run.pid, b.project]);
  assert.deepEqual(supervisor?.command, command, 'word by word, as it can be run again');
  assert.match((await b.run('status')).stdout, /^command .* 'it\\'s \$one word'$/m);
  assert.ok(Math.abs(Date.parse(supervisor?.startedAt ?? '') - Date.now()) < 120_000);
  const [pid] = polledBy(b, 'setsid-child.mjs');
  assert.deepEqual([worker?.pid, worker?.spawns, worker?.restarts, worker?.lastExit], [pid, 1, 0, null]);
  assert.equal(worker?.tree.length, 3, 'the worker and both of its children, sessions or not');
  assert.deepEqual([polling?.via, polling?.pollers], ['gateway', [{ pid, role: 'owner' }]]);
  assert.deepEqual([status.webhook?.url, status.strays, status.problems], ['', [], []]);
  const { stdout, stderr } = await b.exits(0, 'status');
  assert.match(stdout, new RegExp(`@${me.username}[\\s\\S]*\\b${pid}\\b`));
  assertNoControls(stdout);
  assertNoToken(stdout, b.token);
  assert.equal(stderr, '', 'the answer is on stdout');
  const away = await b.run('status --json', { env: { ...b.env, TELEGRAM_API_ROOT: 'http://127.0.0.1:1' } });
  assertStatusShape(JSON.parse(away.stdout));
});

it('stop says what it stopped, a second one that nothing runs, both 0; restart replaces the worker gracefully, many at once end with one', async (b) => {
  const run = await b.polling();
  const [old = -1] = polledBy(b, 'polite.mjs');
  await b.exits(0, 'restart');
  await until('the new worker', () => polledBy(b, 'polite.mjs').length === 2, run);
  assert.equal(alive(old), false);
  assert.ok(b.journal().some((entry) => entry.pid === old && entry.signal === 'SIGTERM'));
  assert.equal((await b.status()).supervisor?.pid, run.pid);
  const anywhere = { cwd: '/', env: { ...b.env, HOME: '/' } };
  await Promise.all(Array.from({ length: 6 }, () => b.run('restart', anywhere)));
  await b.serves(run);
  assertNeverTwo(b);
  assert.match((await b.exits(0, 'stop')).text, new RegExp(`\\b${run.pid}\\b`));
  await run.ends(0);
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  assert.match((await b.exits(0, 'stop')).text, /not|no |nothing/i);
  await b.exits(3, 'restart');
});
