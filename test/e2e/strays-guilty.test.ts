// Whoever polls this bot is found by what it does, wherever its token is and however it takes a 409: named, stopped with its tree, and
// the worker polls. A pattern of the user's counts for the script, wherever the process stands; another bot's process is never it.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { allGone, type Bed, botFixture, fixture, node, POLITE, PYTHON, worker } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { assertInOrder, assertNeverTwo, assertNoToken, starts } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { alive, findByEnv } from '../support/proc.ts';
import {
  botEnv,
  type Hidden,
  type HiddenOptions,
  harmed,
  hold,
  legacyPoller,
  living,
  orphanedGunicorn,
  otherBot,
  polledBy,
  pollingStray,
  proofFixture,
  startHidden,
  startWorker,
  who,
  withToken,
  workerWorks,
} from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const ELSEWHERE = /elsewhere|another machine|not found on this machine/;

/** None of `strays` lives, and the same worker gets what comes and is the only one that polls. Gives what was said. */
async function onlyTheWorkerPolls(b: Bed, run: Running, strays: () => number[]): Promise<string> {
  // One at a time holds the poll: the others go while the worker runs, each at its own next one.
  await until('the strays to be gone', () => strays().every((pid) => !alive(pid)), {
    ms: 90_000,
    seen: run.seen,
  });
  const mine = await workerWorks(b, run);
  const before = b.sandbox.polls().length;
  const isAlone = () =>
    b.sandbox
      .polls()
      .slice(before)
      .every(({ pid }) => pid === mine);
  await staysTrue('only the worker polls', 1_000, isAlone, run.seen);
  assert.deepEqual(new Set(polledBy(b, 'polite.mjs')), new Set([mine]), 'one worker was enough');
  assertNoToken(run.seen(), b.token);
  return run.stderr();
}

async function foundAndStopped(b: Bed, strays: readonly Hidden[], run = startWorker(b)): Promise<void> {
  const text = await onlyTheWorkerPolls(b, run, () => strays.flatMap((it) => [it.run.pid, ...it.pids()]));
  assert.doesNotMatch(text, ELSEWHERE, 'they were here all the time');
  for (const stray of strays) {
    const named = stray.pids().some((pid) => new RegExp(`\\bpid ${pid}\\b`).test(text));
    assert.ok(named, `${stray.name} (${stray.pids()}) is not named\n${text}`);
  }
}

const ROWS: readonly (HiddenOptions & { what: string; endsItself?: boolean })[] = [
  { what: 'token in the source, again at once after a 409', args: ['--at-409', '0'] },
  { what: 'token in config.json, node, keep-alive', from: 'config.json', runtime: 'node' },
  { what: 'token on stdin, a connection for each poll', from: 'stdin', args: ['--close'] },
  {
    what: 'token wiped from the environment, backs off 1, 2, 4 s',
    from: 'wiped',
    args: ['--at-409', '1,2,4'],
  },
  { what: 'ends at a 409', args: ['--at-409', 'end'], endsItself: true },
];

it('updates wait, which answer our question at once: the stray that takes them is asked again, and stopped before the worker', async (b) => {
  // Nobody can poll, until start has cleared it; then the stray, which comes every 2 s, takes what waits.
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  for (const text of ['one', 'two', 'three']) b.sandbox.text(text);
  const script = `for (let offset = 0; ; ) {
    const poll = process.env.TELEGRAM_API_ROOT + '/bot' + process.env.TELEGRAM_BOT_TOKEN + '/getUpdates?timeout=20&offset=';
    const { ok, result } = await (await fetch(poll + offset)).json();
    if (ok) offset = (result.at(-1)?.update_id ?? offset - 1) + 1;
    else await new Promise((done) => setTimeout(done, 2_000));
  }`;
  const stray = b.spawn(process.execPath, [b.file('forgotten_bot.mjs', script)], { env: botEnv(b) });
  await until('it to ask', () => b.sandbox.requests().length > 1, stray);
  const run = b.start();
  await run.waitFor(/^\[worker\] started/m, 30_000);
  assertInOrder(run.stderr(), [
    /^\[webhook\] .*cleared.*; 3 updates waiting/m,
    new RegExp(`^\\[stray\\] stopping pid ${stray.pid}\\b`, 'm'),
    /^\[worker\] started/m,
  ]);
});

for (const [index, { what, endsItself, ...options }] of ROWS.entries())
  it(`no token to be read: ${what}`, async (b) => {
    const stray = await startHidden(b, `hidden-${index}`, options);
    if (!endsItself) return foundAndStopped(b, [stray]);
    const run = startWorker(b);
    await workerWorks(b, run);
    await allGone(stray.pids());
    assert.equal(run.ended(), null, run.seen());
  });

xit('two at once, and two lives of one of them: all go', async (b) => {
  const one = await startHidden(b, 'hidden-one', { from: 'config.json' });
  const twin = await startHidden(b, 'twin', { shell: '% & exec %', args: ['--at-409', '1'] });
  await until('both lives to poll', () => twin.pids().length === 2);
  await foundAndStopped(b, [one, twin]);
});

xit('under a shell that starts it again for ever: the shell goes with it; if it ends at its 409, or 75 names the shell', async (b) => {
  const stray = await startHidden(b, 'looped', { shell: 'while :; do %; sleep 0.1; done' });
  const run = startWorker(b);
  await foundAndStopped(b, [stray], run);
  assert.equal(stray.pids().length, 1, 'it did not come back');
  await b.exits(0, 'stop');

  const shell = 'while :; do %; sleep 0.3; done';
  const looping = await startHidden(b, 'looping', { shell, args: ['--at-409', 'end'] });
  const next = startWorker(b);
  const isOver = () => next.ended() || !alive(looping.run.pid);
  await until('an end, or the shell to be gone', isOver, next);
  if (!next.ended()) return void (await workerWorks(b, next));
  await next.ends(75);
  assert.match(next.stderr(), new RegExp(`\\b${looping.run.pid}\\b`), 'the shell is named');
});

it('a script that starts the old bot again and does other work as well: its bots go, it and the work stay', async (b) => {
  const work = b.file('web.py', 'import time; time.sleep(1000)');
  copyFileSync(worker('poller.py'), join(b.project, 'legacy.py'));
  const script = `${PYTHON} ${work} & echo $! > work.pid; while :; do ${PYTHON} legacy.py; sleep 0.3; done`;
  const job = b.spawn('bash', [b.file('job.sh', script)], { env: withToken(b) });
  await until('it to poll', () => polledBy(b, 'legacy.py').length > 0, job);
  const run = startWorker(b, '--on-rival', 'insist');
  await until('a second life of it', () => polledBy(b, 'legacy.py').length >= 2, run);
  await until('the script to be named', () => new RegExp(`\\bpid ${job.pid}\\b`).test(run.stderr()), run);
  const others = [job.pid, Number(readFileSync(join(b.project, 'work.pid'), 'utf8'))];
  await staysTrue('script and work live', 5_000, () => others.every(alive), run.seen);
});

it('reset stops it, too; a dry run and who ask nobody and stop nobody; who --probe proves it, with pid and folder', async (b) => {
  const stray = await startHidden(b, 'hidden', { from: 'stdin' });
  const before = b.sandbox.polls().length;
  await b.exits(0, ['start', '--dry-run', ...POLITE]);
  assert.equal(b.sandbox.polls().length, before, 'no poke');
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  // On a busy machine a reaction may be missed, and who is asked again.
  const proven = async () => {
    const { view, code } = await who(b, '--probe');
    const found = view.strays.find(({ pid }) => pid === stray.pids()[0]);
    return found?.grade === 'proven' ? [code, found.cwd] : null;
  };
  assert.deepEqual(await until('the proof', proven), [1, stray.folder]);
  assert.ok(stray.pids().every(alive));
  const { stderr } = await b.exits(0, 'reset --no-start');
  assert.deepEqual(stray.pids().filter(alive), [], stderr);
  assert.match(stderr, new RegExp(`\\bpid ${stray.pids()[0]}\\b`));
});

it('one that starts while the worker runs is named with user and folder, and stopped; the worker notices nothing', async (b) => {
  const run = startWorker(b);
  const mine = await workerWorks(b, run);
  const stray = await startHidden(b, 'late', { from: 'config.json' });
  await allGone(stray.pids());
  const line = run
    .stderr()
    .split('\n')
    .find((text) => text.includes(`pid ${stray.pids()[0]} `));
  assert.ok(line?.includes(stray.folder) && /root/.test(line), run.seen());
  assert.doesNotMatch(run.stderr(), ELSEWHERE);
  assert.equal(await workerWorks(b, run), mine);
  assert.ok(b.journal().every((entry) => entry.pid !== mine || entry.ev !== 'conflict'));
});

it('one process that polls two bots: 75 names the other bot and touches nothing; --takeover and reset stop it, and say so', async (b) => {
  const other = otherBot(b);
  const otherId = new RegExp(`\\b${other.split(':')[0]}\\b`);
  const twoBots = async () => {
    const run = await hold(b, 'both', ['two'], 'getUpdates', {
      env: { ...withToken(b), OTHER_TOKEN: other },
    });
    const bots = () =>
      new Set(
        b.sandbox
          .requests()
          .filter(({ userAgent }) => userAgent.endsWith(`/${run.pid}`))
          .map(({ bot }) => bot),
      );
    await until('it to poll both', () => bots().size === 2, run);
    return run;
  };
  const both = await twoBots();
  const those = living([both.pid]);
  const run = startWorker(b);
  await run.ends(75);
  for (const pattern of [otherId, new RegExp(`\\b${both.pid}\\b`), /→ singlepoll reset/])
    assert.match(run.stderr(), pattern);
  assert.equal(polledBy(b, 'polite.mjs').length, 0);
  assert.deepEqual(harmed(b, those), [], run.seen());

  const taking = startWorker(b, '--takeover');
  await workerWorks(b, taking);
  await allGone([both.pid]);
  assert.match(taking.stderr(), otherId);
  await b.exits(0, 'stop');
  const again = await twoBots();
  const { stderr } = await b.exits(0, 'reset --no-start');
  assert.equal(alive(again.pid), false, stderr);
  assert.match(stderr, otherId);
});

it('all kinds that show the token, together: daemons, a master with workers, one that ignores SIGTERM, a child in another session', async (b) => {
  const folder = (name: string) => {
    mkdirSync(join(b.dir, name));
    return join(b.dir, name);
  };
  const [other, fromEnvFile] = [folder('elsewhere'), folder('with-env-file')];
  writeFileSync(join(fromEnvFile, '.env'), `LEGACY_TOKEN=${b.token}\nLEGACY_ROOT=${b.sandbox.root}\n`);
  const direct = [
    legacyPoller(b, 'production_polling_bot.py'),
    legacyPoller(b, 'stubborn_bot.py', { args: ['--ignore-term'] }),
    legacyPoller(b, 'env_file_bot.py', { args: ['--env-file'], cwd: fromEnvFile, env: {} }),
    legacyPoller(b, 'elsewhere_bot.py', { cwd: other }),
    b.spawn(process.execPath, [worker('setsid-child.mjs')], { env: botEnv(b) }),
  ].map(({ pid }) => pid);
  legacyPoller(b, 'daemon_bot.py', { args: ['--daemonise'] });
  const gunicorn = await orphanedGunicorn(b, join(b.dir, 'web'), b.token, 2);
  const names = ['production_polling_bot.py', 'stubborn_bot.py', 'env_file_bot.py', 'elsewhere_bot.py'];
  names.push('setsid-child.mjs', 'daemon_bot.py', 'app.py');
  await until('all to poll', () => names.every((name) => polledBy(b, name).length > 0));
  const line = () => b.journal().find((entry) => entry.text?.startsWith('children'))?.text;
  const children = (await until('the children', line)).split(' ').slice(1).map(Number);
  const daemon = polledBy(b, 'daemon_bot.py');
  const all = [...direct, ...daemon, ...children, ...gunicorn];
  const text = await onlyTheWorkerPolls(b, startWorker(b), () => all);
  const isNamed = (pid: number) => new RegExp(`\\b${pid}\\b`).test(text);
  for (const pid of [...direct, ...daemon]) assert.ok(isNamed(pid), `${pid} is named`);
  assert.ok(gunicorn.some(isNamed), 'gunicorn is named');
});

xit('old pollers of every kind fight; after start every getUpdates is the worker’s, and no update is lost', async (b) => {
  const env = botEnv(b);
  const old = [
    b.spawn(process.execPath, [worker('retries-on-409.mjs')], { env }),
    b.spawn(process.execPath, [botFixture('ntba.mjs')], { env }),
    b.spawn(PYTHON, [botFixture('ptb.py')], { env }),
    b.spawn(PYTHON, [worker('poller.py')], { env }),
  ].map(({ pid }) => pid);
  const fights = () => b.sandbox.polls().filter((poll) => poll.status === 409).length >= 4;
  await until('the fight', fights);
  const run = startWorker(b);
  await onlyTheWorkerPolls(b, run, () => old);
  assert.ok(b.journal().every(({ name, ev }) => name !== 'polite.mjs' || ev !== 'conflict'));
});

it('what a killed supervisor left in another session is gone before the new worker polls', async (b) => {
  const first = b.start(['--', ...node('forks-and-stays.mjs')]);
  await until('the daemonised grandchild to poll', () => polledBy(b, 'polite.mjs').length > 0, first);
  first.signal('SIGKILL');
  const left = polledBy(b, 'polite.mjs');
  const next = b.start(['--', ...node('retries-on-409.mjs')]);
  await until('the new worker to poll', () => polledBy(b, 'retries-on-409.mjs').length === 1, next);
  for (const pid of left) assert.equal(alive(pid), false, 'gone before the new one polled');
  assert.match(next.stderr(), /\bown\b/);
});

xit('without a gateway a late stray kills a worker that ends at a 409; it is stopped, and a worker stays', async (b) => {
  const run = await b.polling(['--no-gateway', '--', ...node('ends-on-409.mjs')]);
  await allGone([legacyPoller(b, 'late_bot.py').pid]);
  await b.serves(run);
});

xit('one that is stopped (SIGSTOP) goes, too', async (b) => {
  const frozen = await pollingStray(b, 'frozen_bot.py');
  frozen.signal('SIGSTOP');
  const run = startWorker(b);
  await allGone([frozen.pid]);
  await b.serves(run);
});

xit('one that starts itself anew at SIGTERM: gone for good, or 75; never two pollers in the end', async (b) => {
  b.spawn(process.execPath, [worker('phoenix.mjs')], { env: botEnv(b) });
  await until('it to poll', () => polledBy(b, 'phoenix.mjs').length > 0);
  const run = b.start('--stop-timeout 1s');
  // Between two lives it is gone for a moment: quiet means gone for three seconds on end.
  let goneSince: number | null = null;
  const isSettled = () => {
    if (run.ended()) return true;
    const gone =
      polledBy(b, 'phoenix.mjs').every((pid) => !alive(pid)) && polledBy(b, 'polite.mjs').length > 0;
    goneSince = gone ? (goneSince ?? performance.now()) : null;
    return goneSince !== null && performance.now() - goneSince > 3_000;
  };
  await until('no phoenix beside the worker, or an end', isSettled, run);
  if (!run.ended()) return;
  await run.ends(75);
  assert.equal(polledBy(b, 'polite.mjs').filter(alive).length, 0);
});

xit('brought back by something that is not its parent: 75, no worker left, said so, to the admin chat too', async (b) => {
  b.env.ASSISTANT_ADMIN_TELEGRAM_ID = '42';
  const secret = b.file('secret', b.token, 0o600);
  const manager = b.spawn(PYTHON, [fixture('respawner.py'), secret, b.sandbox.root, worker('poller.py')]);
  await until('it to poll', () => polledBy(b, 'poller.py').length > 0, manager);
  const run = b.start('--stop-timeout 2s');
  await run.ends(75);
  assert.equal(polledBy(b, 'polite.mjs').filter(alive).length, 0, 'no worker is left');
  assert.match(run.stderr(), /again|back|respawn/i);
  const told = b.sandbox.sentTexts().at(-1) ?? '';
  assert.match(told, /^stray that stays: [\s\S]*\(exit 75\)[\s\S]*next: singlepoll who/);
  assert.ok(alive(manager.pid), 'what holds no token is not touched');
});

xit('one that asks without waiting is never stopped, and `who` shows it', async (b) => {
  const url =
    'os.environ["LEGACY_ROOT"] + "/bot" + os.environ["LEGACY_TOKEN"] + "/getUpdates?poller=short.%d" % os.getpid()';
  const short = `import os, time, urllib.request
while True:
    try:
        urllib.request.urlopen(${url}).read()
    except Exception as error:
        print(error, flush=True)
    time.sleep(4)
`;
  const stray = b.spawn(PYTHON, [b.file('short.py', short)], { env: withToken(b) });
  await until('it to poll', () => polledBy(b, 'short').length > 0, stray);
  assert.match((await b.run('who --json')).stdout, new RegExp(`\\b${stray.pid}\\b`));
  const run = await b.polling();
  assert.equal(alive(stray.pid), true, run.seen());
});

xit('without `ps` and `setpriv` (only node in PATH): strays are found, the dead one leaves no second worker', async (b) => {
  const bin = join(b.dir, 'bin');
  mkdirSync(bin);
  symlinkSync(process.execPath, join(bin, 'node'));
  const env = { ...b.env, PATH: bin };
  const stray = await pollingStray(b, 'production_polling_bot.py');
  const run = await b.polling([], { env });
  await until('the stray to be gone', () => !alive(stray.pid), run);
  run.signal('SIGKILL');
  const next = b.start([], { env });
  await until('the next worker', () => polledBy(b, 'polite.mjs').length === 2, next);
  for (const start of starts(b.journal()).filter((entry) => entry.name === 'polite.mjs'))
    assert.deepEqual(start.others, []);
});

xit('one started while the sweep is going on never polls beside the worker for long', async (b) => {
  const run = b.start();
  const strays: number[] = [];
  for (let index = 0; index < 6; index++) {
    strays.push(legacyPoller(b, `late_${index}.py`).pid);
    await staysTrue('the supervisor runs', 60, () => run.ended() === null, run.seen);
  }
  await allGone(strays);
  await b.serves(run);
  assertNeverTwo(b, 'polite.mjs');
});

/** A program in the project that does nothing but wait; `name` is its file's. */
const sleeper = (b: Bed, name: string, options: { cwd?: string; env?: Record<string, string> } = {}) =>
  b.spawn(PYTHON, [b.file(name, 'import time\ntime.sleep(10000)\n')], options);

it('--stray: a script of the project started in / or $HOME; not one of another project; a pattern without end is given up', async (b) => {
  const other = join(b.dir, 'other');
  mkdirSync(other);
  writeFileSync(join(other, 'production_polling_bot.py'), 'import time\ntime.sleep(10000)\n');
  const theirs = b.spawn(PYTHON, [join(other, 'production_polling_bot.py')], { cwd: '/' });
  const hostile = sleeper(b, `${'a'.repeat(60)}!`);
  const ours = ['/', b.env.HOME ?? '/'].map((cwd) => sleeper(b, 'production_polling_bot.py', { cwd }));
  const run = startWorker(b, '--stray', '(a+)+$', '--stray', 'production_polling_bot\\.py');
  await workerWorks(b, run);
  await allGone(ours.map(({ pid }) => pid));
  for (const { pid } of ours) assert.match(run.stderr(), new RegExp(`stopping pid ${pid} .*\\n.*declared`));
  assert.ok(alive(theirs.pid) && alive(hostile.pid), run.seen());
  assert.match(run.stderr(), /^\[(?!config)\w+\].*--stray.*(given up|gave up|too long|took longer)/m);
});

it("--stray-scope any reaches another folder, and never a process that holds another bot's token and not ours", async (b) => {
  // The whole machine is meant: the name is this test's own.
  const name = `bot_${b.cookie}`;
  const other = join(b.dir, 'elsewhere');
  mkdirSync(other);
  const source = readFileSync(worker('poller.py'), 'utf8')
    .replace(/^token = .*$/m, `token = "${b.token}"`)
    .replace(/^root = .*$/m, `root = "${b.sandbox.root}"`);
  writeFileSync(join(other, `${name}_0.py`), source);
  const stray = b.spawn(PYTHON, [`${name}_0.py`], { cwd: other });
  await until('it to poll', () => polledBy(b, `${name}_0.py`).length === 1);

  const env = { OTHER_TOKEN: otherBot(b), LEGACY_ROOT: b.sandbox.root };
  copyFileSync(proofFixture('holder.py'), join(b.project, `${name}.py`));
  copyFileSync(proofFixture('common.py'), join(b.project, 'common.py'));
  const poller = b.spawn(PYTHON, [join(b.project, `${name}.py`), 'other'], {
    env: { ...env, SP_NAME: 'theirs' },
  });
  const quiet = sleeper(b, `${name}_2.py`, { env: { TELEGRAM_BOT_TOKEN: env.OTHER_TOKEN } });
  const polls = () => b.sandbox.requests().some(({ userAgent }) => userAgent.includes('/theirs/'));
  await until('it to poll', polls, poller);
  const those = living([poller.pid, quiet.pid]);
  const run = startWorker(b, '--stray', name, '--stray-scope', 'any');
  await onlyTheWorkerPolls(b, run, () => [stray.pid]);
  const { stderr } = await b.exits(0, `reset --no-start --stray ${name} --stray-scope any`);
  assert.deepEqual(harmed(b, those), [], run.seen() + stderr);
});
