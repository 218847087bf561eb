// Pollers that a manager keeps alive are named with its command and not fought; a worker that polls is never ended because of what
// some process looks like, and a 409 of a poller of this machine is answered with its name.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { type Bed, bed, PYTHON } from '../support/bed.ts';
import { RIVAL_AFTER } from '../support/gateway.ts';
import { alive } from '../support/proc.ts';
import {
  askedBy,
  harmed,
  hiddenFolder,
  LONG_MS,
  living,
  proofFixture,
  startWorker,
  withToken,
  workerWorks,
} from '../support/proof-bed.ts';
import { startRemoteRival } from '../support/proof-rival.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

/** A supervisord of the test's own that runs one command as the program `name`. */
async function supervised(b: Bed, name: string, command: readonly string[], env: Record<string, string>) {
  const config = b.file(
    `${name}.conf`,
    `[unix_http_server]
file=%(here)s/${name}.sock
[supervisord]
logfile=%(here)s/${name}.log
pidfile=%(here)s/${name}.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%(here)s/${name}.sock
[program:${name}]
command=${command.join(' ')}
startsecs=0
`,
  );
  const run = b.spawn('supervisord', ['-n', '-c', config], { env: { ...env, SP_NAME: name } });
  const stop = new RegExp(`supervisorctl -c \\S*${name}\\.conf stop ${name}`);
  return { run, stop };
}

/** A poller with a hidden token under supervisord; waits until it polls. */
async function managedStray(b: Bed, name: string, args: readonly string[] = []) {
  const { command } = hiddenFolder(b, name, { args });
  const manager = await supervised(b, name, command, {});
  const pids = () => askedBy(b, name, 'getUpdates');
  await until('the managed stray to poll', () => pids().length > 0, { ms: LONG_MS, seen: manager.run.seen });
  return { ...manager, pids };
}

/** A 409 may be held for 3 s: the least that tells a rival that stays from one that goes. */
const SOON = '9s';
const ELSEWHERE = /elsewhere|another machine|not found on this machine/;

const TYPED = /(supervisorctl -c \S+ stop \S+)/;

describe('managed', () => {
  test('a hidden poller under supervisord: 75 with the command, which works; nothing was fought', async (t) => {
    const b = await bed(t);
    const stray = await managedStray(b, 'kept');
    const those = living([stray.run.pid, ...stray.pids()]);
    const run = startWorker(b);
    const exit = await run.exit(LONG_MS);
    assert.equal(exit.code, 75, run.seen());
    assert.match(run.stderr(), stray.stop);
    assert.match(run.stderr(), new RegExp(`\\b${stray.pids()[0]}\\b`));
    assert.deepEqual(harmed(b, those), [], run.seen());
    const typed = spawnSync('bash', ['-c', TYPED.exec(run.stderr())?.[1] ?? 'false'], { timeout: 20_000 });
    assert.equal(typed.status, 0, String(typed.stderr));
    await until('it to be gone', () => stray.pids().every((pid) => !alive(pid)));
    await workerWorks(b, startWorker(b));
  });

  test('one that ends at each 409 and is started again: 75 with the command', async (t) => {
    const b = await bed(t);
    const stray = await managedStray(b, 'phoenix', ['--at-409', 'end']);
    const run = startWorker(b);
    const exit = await run.exit(LONG_MS);
    assert.equal(exit.code, 75, run.seen());
    assert.match(run.stderr(), stray.stop);
    assert.ok(alive(stray.run.pid), run.seen());
  });

  for (const [choice, ends] of [
    ['yield', true],
    ['insist', false],
  ] as const) {
    test(`while running, --on-rival ${choice}: the managed one is named with the command and ${ends ? 'gets the bot' : 'does not get the worker'}`, async (t) => {
      const b = await bed(t);
      b.env[RIVAL_AFTER] = SOON;
      const run = startWorker(b, '--on-rival', choice);
      const worker = await workerWorks(b, run);
      const stray = await managedStray(b, 'late');
      const those = living([stray.run.pid, ...stray.pids()]);
      await run.waitFor(stray.stop, LONG_MS);
      assert.match(run.stderr(), new RegExp(`\\b${stray.pids()[0]}\\b`));
      if (ends) {
        assert.equal((await run.exit(LONG_MS)).code, 75, run.seen());
        assert.equal(alive(worker), false);
      } else {
        const before = b.sandbox.polls().filter(({ status }) => status === 409).length;
        const more = () => b.sandbox.polls().filter(({ status }) => status === 409).length - before;
        await until('the fight to go on', () => more() >= 4, { ms: LONG_MS, seen: run.seen });
        assert.equal(run.ended(), null, run.seen());
        // It keeps its worker; which of the two an update goes to is chance.
        assert.ok(alive(worker), run.seen());
      }
      assert.deepEqual(harmed(b, those), [], run.seen());
      assert.doesNotMatch(run.stderr(), ELSEWHERE);
      if (ends) return;
      spawnSync('bash', ['-c', TYPED.exec(run.stderr())?.[1] ?? 'false'], { timeout: 20_000 });
      await until('it to be gone', () => stray.pids().every((pid) => !alive(pid)));
      const rival = await startRemoteRival(t, b);
      await run.waitFor(ELSEWHERE, LONG_MS);
      await rival.leave();
    });
  }

  test('a dashboard under supervisord that sends one message ends nothing, with or without conflicts from elsewhere', async (t) => {
    const b = await bed(t);
    const run = startWorker(b);
    const worker = await workerWorks(b, run);
    const command = [PYTHON, proofFixture('holder.py'), 'shop'];
    const manager = await supervised(b, 'dashboard', command, withToken(b));
    await until('its message', () => askedBy(b, 'dashboard', 'sendMessage').length > 0, {
      ms: LONG_MS,
      seen: manager.run.seen,
    });
    const those = living(askedBy(b, 'dashboard', 'sendMessage'));
    await staysTrue('the run goes on', 12_000, () => run.ended() === null && alive(worker), run.seen);
    const rival = await startRemoteRival(t, b);
    await until('conflicts', () => rival.conflicts >= 3, { ms: LONG_MS, seen: run.seen });
    await rival.leave();
    assert.equal(run.ended(), null, run.seen());
    assert.equal(await workerWorks(b, run), worker);
    assert.deepEqual(harmed(b, those), [], run.seen());
    // A worker that ends is what made the supervisor look around.
    process.kill(worker, 'SIGKILL');
    await until('a new worker', () => polledBy(b, 'polite.mjs').some((pid) => pid !== worker), {
      ms: LONG_MS,
      seen: run.seen,
    });
    assert.equal(run.ended(), null, run.seen());
    assert.deepEqual(harmed(b, those), [], run.seen());
  });

  test('start beside such a dashboard: the worker polls', async (t) => {
    const b = await bed(t);
    const command = [PYTHON, proofFixture('holder.py'), 'shop'];
    await supervised(b, 'dashboard', command, withToken(b));
    await until('its message', () => askedBy(b, 'dashboard', 'sendMessage').length > 0, { ms: LONG_MS });
    const those = living(askedBy(b, 'dashboard', 'sendMessage'));
    const run = startWorker(b);
    await workerWorks(b, run);
    assert.deepEqual(harmed(b, those), [], run.seen());
  });
});

describe('elsewhere', () => {
  test('a rival that shows on this machine nowhere: a newcomer says elsewhere, and yields with 75', async (t) => {
    const b = await bed(t);
    b.env[RIVAL_AFTER] = SOON;
    const rival = await startRemoteRival(t, b);
    await until('it to poll', () => rival.polls > 0);
    const run = startWorker(b);
    assert.equal((await run.exit(LONG_MS)).code, 75, run.seen());
    assert.match(run.stderr(), ELSEWHERE);
    assert.doesNotMatch(run.stderr(), /\[stray\] stopping/);
  });

  test('the same beside senders: none of them is blamed, and elsewhere is said', async (t) => {
    const b = await bed(t);
    b.env[RIVAL_AFTER] = SOON;
    const run = startWorker(b, '--on-rival', 'insist');
    const worker = await workerWorks(b, run);
    const holder = b.spawn(PYTHON, [proofFixture('holder.py'), 'monitor'], {
      env: { ...withToken(b), SP_NAME: 'monitor' },
    });
    await until('the monitor to ask', () => askedBy(b, 'monitor', 'getMe').length > 0, { ms: LONG_MS });
    const rival = await startRemoteRival(t, b);
    await run.waitFor(ELSEWHERE, LONG_MS);
    await rival.leave();
    assert.deepEqual(harmed(b, living([holder.pid])), [], run.seen());
    assert.doesNotMatch(run.stderr(), /\[stray\] stopping/);
    assert.ok(alive(worker) && run.ended() === null, run.seen());
  });

  test('who --probe: a rival elsewhere is one, and the sender beside it is not called proven', async (t) => {
    const b = await bed(t);
    const holder = b.spawn(PYTHON, [proofFixture('holder.py'), 'monitor'], {
      env: { ...withToken(b), SP_NAME: 'monitor' },
    });
    await until('the monitor to ask', () => askedBy(b, 'monitor', 'getMe').length > 0, { ms: LONG_MS });
    const rival = await startRemoteRival(t, b);
    await until('it to poll', () => rival.polls > 0);
    const result = await b.run(['who', '--probe'], { ms: LONG_MS });
    assert.equal(result.code, 1, result.stderr);
    assert.match(result.stdout, ELSEWHERE);
    assert.doesNotMatch(result.stdout, new RegExp(`^proven.*pid ${holder.pid}\\b`, 'm'));
    assert.ok(alive(holder.pid));
  });
});
