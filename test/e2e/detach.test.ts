// `start --detach`: returns when it polls or says why not, survives what started it, and leaves nothing half started. And which bot is
// meant, from any folder: the only one that runs, --bot, or a question; and the list of all.
import assert from 'node:assert/strict';
import { mkdirSync, readlinkSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { StatusDocument } from '../../src/supervisor/status.ts';
import { allGone, bed, fixture, node, PYTHON } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { detach, leftovers, logFile, logText, nowhere } from '../support/detach-bed.ts';
import { assertNeverTwo, assertNoToken } from '../support/judge.ts';
import { it, test, xit, xtest } from '../support/kinds.ts';
import { holdOtherUsers } from '../support/place.ts';
import { alive, readProc } from '../support/proc.ts';
import { assertStatusShape } from '../support/status.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const LINE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:out|err|singlepoll) /;

it('returns 0 once the worker has polled; a session of its own; a log without tokens; a second one yields', async (b) => {
  const speaks = `console.log('out', process.env.TELEGRAM_BOT_TOKEN); console.error('err', process.env.TELEGRAM_BOT_TOKEN);
process.stderr.write('no end'); await import(${JSON.stringify(node('polite.mjs')[1])});`;
  const { finished, pid } = await detach(b, ['--', process.execPath, b.file('speaks.mjs', speaks)]);
  assert.ok(b.sandbox.polls().length > 0, 'it has polled before the return');
  assert.match(finished.stdout, /polls: supervisor \d+, worker \d+; log \//);
  assert.match(finished.stderr, /\[lock\] taken/);
  assert.equal(readProc(pid)?.session, pid);
  for (const fd of [0, 1, 2]) assert.equal(readlinkSync(`/proc/${pid}/fd/${fd}`), '/dev/null');
  assert.equal(readlinkSync(`/proc/${pid}/cwd`), realpathSync(b.project));
  const { supervisor, healthy, log } = await b.status();
  assert.deepEqual([supervisor?.pid, healthy, log?.path], [pid, true, logFile(b)]);
  await b.serves();
  await until('the line without an end', () => logText(b).includes('no end'));

  const before = logText(b);
  const second = await b.exits(75, ['start', '-d', '--', ...node('polite.mjs', 'second')]);
  assert.match(second.stderr, new RegExp(`supervisor already: pid ${pid}`));
  assert.deepEqual([second.stdout, logText(b), polledBy(b, 'second')], ['', before, []]);

  assert.match((await b.exits(0, 'stop')).stdout, new RegExp(`stopped: supervisor ${pid}`));
  await until('all to be gone', () => leftovers(b).length === 0);
  const text = logText(b);
  for (const line of text.trimEnd().split('\n')) assert.match(line, LINE);
  for (const stream of ['out', 'err'])
    assert.match(text, new RegExp(`^\\S+ ${stream} ${stream} ${b.botId}:…$`, 'm'));
  assert.match(text, /^\S+ singlepoll \[poll\] worker \d+ polls$/m);
  assertNoToken(finished.text + text, b.token);
});

it('the terminal that started it is closed: it goes on; SIGHUP is a restart; kill -9 takes the worker along', async (b) => {
  const hangup = join(b.dir, 'hangup');
  const start = [process.execPath, PROGRAM, 'start', '-d', '--', ...node('polite.mjs')].join(' ');
  const pty = [fixture('in-pty.py'), '--hangup-file', hangup, 'sh', '-c'];
  const terminal = b.spawn(PYTHON, [...pty, `${start}; echo code $?; exec sleep 1000`], {
    env: { ...b.env, TERM: 'xterm' },
  });
  await terminal.waitFor(/code 0/);
  const shell = Number(/pty (\d+)/.exec(terminal.stdout())?.[1]);
  const status = await b.status();
  const pid = status.supervisor?.pid ?? 0;
  const worker = status.worker?.pid ?? 0;
  assert.match(terminal.stdout(), /\x1b\[/, 'painted for the terminal');
  assert.doesNotMatch(logText(b), /\x1b/, 'and not in the log');
  writeFileSync(hangup, '');
  await until('the shell to be hung up', () => !alive(shell));
  await b.serves();
  assert.ok(alive(pid) && alive(worker));
  rmSync(hangup);
  process.kill(pid, 'SIGHUP');
  await until(
    'a new worker',
    async () => ![undefined, null, worker].includes((await b.status()).worker?.pid),
  );
  await b.serves();
  assertNeverTwo(b);
  const next = (await b.status()).worker?.pid ?? 0;
  process.kill(pid, 'SIGKILL');
  await allGone([pid, next]);
  assert.match((await b.run('stop')).stdout, /nothing to stop/);
  await detach(b, ['--', ...node('polite.mjs')]);
  assert.equal(logText(b).match(/\[lock\] taken/g)?.length, 2, 'the next start goes on with the log');
});

it('what does not start ends with its code, its last lines and its reason, and leaves nothing', async (b) => {
  const wrong = { ...b.env, TELEGRAM_BOT_TOKEN: b.token.replace(/.$/, (last) => (last === 'x' ? 'y' : 'x')) };
  const fails = ['--', 'sh', '-c', 'echo ImportError: no bot; exit 7'];
  const loop = ['--max-restarts', '1/1m', '--backoff', '10ms,20ms'];
  const rows: [string[], number, RegExp, Record<string, string>?][] = [
    [['--restart', 'never', ...fails], 7, /\| ImportError: no bot/],
    [[...loop, ...fails], 7, /^(?![\s\S]*\| ImportError[\s\S]*\| ImportError)[\s\S]*\| ImportError/],
    [['--backoff', '10ms,20ms', ...fails], 7, /has ended 5 times in a row without a poll/],
    [['--start-timeout', '1s', '--backoff', '10s,10s', ...fails], 7, /exit 7/],
    [['--restart', 'never', '--', 'true'], 69, /not started/],
    [[], 78, /no command to run/],
    [['--', ...node('polite.mjs')], 77, /refuses the token/, wrong],
    [
      ['--start-timeout', '1s', '--', 'sh', '-c', 'echo busy; exec sleep 1000'],
      69,
      /has not polled within 1 s/,
    ],
  ];
  for (const [words, code, seen, env = b.env] of rows) {
    const { stdout, stderr } = await b.exits(code, ['start', '-d', ...words], { env });
    assert.match(stderr, seen);
    assert.equal(stdout, '');
    assert.deepEqual(leftovers(b), []);
  }
});

it('SIGUSR1 to the one that waits opens no debugger, and ends nothing', async (b) => {
  const run = b.start(['-d', '--', 'sleep', '1000']);
  await run.waitFor(/\[worker\] started/);
  run.signal('SIGUSR1');
  await staysTrue('it waits', 300, () => run.ended() === null, run.seen);
  assert.doesNotMatch(run.stderr(), /debugger/i);
  run.signal('SIGTERM');
  await run.exit();
  await until('all to be gone', () => leftovers(b).length === 0);
});

xit('a signal before it is ready leaves nothing half started', async (b) => {
  for (const [name, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGKILL', null],
  ] as const) {
    const run = b.cli(['start', '-d', '--', 'sh', '-c', 'sleep 1000; true']);
    await run.waitFor(/\[worker\] started/);
    run.signal(name);
    assert.equal((await run.exit()).code, code, run.seen());
    await until('all to be gone', () => leftovers(b).length === 0, run);
  }
});

for (const args of [['--no-gateway'], []])
  (args.length > 0 ? test : xtest)(
    `only a poll counts as polling: a worker that only calls never does; one past the gateway does, ${args.join('')}`,
    async (t) => {
      const b = await bed(t);
      const calls = node('calls-only.mjs', b.sandbox.root, '700');
      const { stderr } = await b.exits(69, ['start', '-d', '--start-timeout', '8s', ...args, '--', ...calls]);
      assert.match(stderr, /has not polled within 8 s/);
      assert.doesNotMatch(stderr, /\[poll\]|past the gateway/);
      const poller = `const [, , root] = process.argv;
for (;;) await fetch(root + '/bot' + process.env.TELEGRAM_BOT_TOKEN + '/getUpdates?timeout=20').catch(() => {});`;
      await detach(b, [...args, '--', process.execPath, b.file('bot.mjs', poller), b.sandbox.root]);
      const status = await b.status();
      assert.deepEqual([status.state, status.polling?.via], ['polling', 'direct']);
    },
  );

xit('reset starts it detached again, from any folder; --wait returns once it stands by, and takes over', async (b) => {
  const first = await detach(b, ['--log-file', 'my.log', '--', ...node('polite.mjs')]);
  assert.match((await b.exits(0, 'reset', { cwd: b.dir })).stdout, /polls: supervisor \d+/);
  assert.ok(!alive(first.pid));
  const status = await b.status();
  assert.equal(status.supervisor?.cwd, b.project);
  assert.equal(status.log?.path, join(b.project, 'my.log'));
  const other = await b.exits(0, ['reset', '--', ...node('retries-on-409.mjs')]);
  assert.match(other.stdout, /polls: supervisor \d+/, 'with another command, too');
  const second = await detach(b, ['--wait', '--', ...node('polite.mjs')]);
  assert.match(second.finished.stdout, /stands by/);
  await b.exits(0, 'stop');
  const isPolling = async () => {
    const { supervisor, state } = await b.status();
    return supervisor?.pid === second.pid && state === 'polling';
  };
  await until('the second to poll', isPolling);
  await b.serves();
  assertNeverTwo(b);
});

xit('deploy mode returns once the worker runs; two without a token keep their logs apart', async (b) => {
  const { env } = nowhere(b);
  const deploy = { ...env, POLLING_ENABLED: '0' };
  const other = join(b.dir, 'other');
  mkdirSync(other);
  const run = (cwd: string) => detach(b, ['--', 'sh', '-c', 'pwd; exec sleep 1000'], { cwd, env: deploy });
  const [one, two] = await Promise.all([run(b.project), run(other)]);
  assert.match(one.finished.stdout, /nobody polls, as asked/);
  const path = (it: typeof one) => /log (\S+)/.exec(it.finished.stdout)?.[1] ?? '';
  assert.notEqual(path(one), path(two));
  await until('its own output', () => logText(b, path(one)).includes(` out ${b.project}\n`));
  assert.ok(!logText(b, path(one)).includes(`out ${other}`));
  const wrong = { env: { ...b.env, POLLING_ENABLED: '0' } };
  await b.exits(1, 'start -d --restart never -- false', wrong);
});

for (const signal of ['SIGTERM', 'SIGKILL'] as const)
  test(`${signal}: a supervisor that another bot's worker has started with -d outlives that worker`, async (t) => {
    const outer = await bed(t);
    const inner = await bed(t);
    const { TELEGRAM_BOT_TOKEN: token, TELEGRAM_API_ROOT: root } = inner.env;
    const own = `TELEGRAM_BOT_TOKEN=${token} TELEGRAM_API_ROOT=${root} SINGLEPOLL_DIR=${inner.stateDir}`;
    const polite = `"${node('polite.mjs').join('" "')}"`;
    const lines = [
      `env -u SINGLEPOLL_HOOK ${own} "${process.execPath}" "${PROGRAM}" start -d -- ${polite}`,
      `exec ${polite}`,
    ];
    const run = await outer.polling(['--', 'sh', outer.file('starts-another.sh', `${lines.join('\n')}\n`)]);
    const supervisor = (await inner.status()).supervisor?.pid ?? -1;
    assert.ok(alive(supervisor));
    run.signal(signal);
    await run.exit();
    await until('the outer worker to be gone', () => !polledBy(outer, 'polite.mjs').some(alive));
    assert.equal((await inner.status()).state, 'polling');
    assert.match((await inner.run('stop')).stdout, new RegExp(`supervisor ${supervisor}`));
  });

it('which bot: the only one that runs, from any folder', async (b) => {
  await holdOtherUsers(b.t);
  const { pid } = await detach(b, ['--', ...node('polite.mjs')]);
  const away = nowhere(b);
  const worker = (await b.status()).worker?.pid;
  assert.equal((await b.status(away)).supervisor?.pid, pid);
  assert.match((await b.run('restart', away)).stdout, new RegExp(`in place of ${worker}`));
  assert.match((await b.run('logs -n 1000', away)).stdout, /\[lock\] taken/);
  const stopped = await b.run('stop', away);
  assert.match(stopped.stdout, new RegExp(`supervisor ${pid}`));
  assert.match(
    stopped.stderr,
    new RegExp(`only one that runs: ${b.botId}, from ${b.project}`),
    'whose it was',
  );
  assert.match((await b.run('logs -n 1', away)).stdout, /have ended/, 'also after its end');
  assert.match((await b.run('stop', away)).stdout, /nothing to stop/);
  await b.exits(3, 'restart', away);
});

test('which bot: of several they ask, and --bot names one by id or username; nobody, nonsense and a token are refused', async (t) => {
  await holdOtherUsers(t);
  const one = await bed(t);
  const two = await bed(t);
  two.env.SINGLEPOLL_DIR = one.stateDir;
  const away = nowhere(one);
  assert.match((await one.run('status --all')).stdout, /no bot has been run/);
  const first = await detach(one, ['--', ...node('polite.mjs')]);
  const second = await detach(two, ['--', ...node('polite.mjs')]);
  const username = (await two.status()).bot?.username ?? '';
  for (const command of ['stop', 'restart', 'status', 'logs']) {
    const { stderr } = await one.exits(64, command, away);
    for (const text of [`${one.botId} @`, `${two.botId} @${username}`, one.project, two.project, 'name it'])
      assert.ok(stderr.includes(text), `${command}: ${text}\n${stderr}`);
  }
  const docs = JSON.parse((await one.exits(0, 'status --all --json', away)).stdout) as StatusDocument[];
  for (const doc of docs) assertStatusShape(doc);
  assert.deepEqual(new Set(docs.map((doc) => doc.supervisor?.pid)), new Set([first.pid, second.pid]));
  const named = await one.run(`status --json --bot @${username.toUpperCase()}`, away);
  assert.equal((JSON.parse(named.stdout) as StatusDocument).supervisor?.pid, second.pid);
  // It goes before the token that is configured here.
  assert.match((await one.run(`logs -n 99 --bot ${two.botId}`)).stdout, new RegExp(`id ${two.botId}`));
  assert.match((await one.run(`restart ${username}`, away)).stdout, /^restarted/);
  await one.exits(64, `restart ${username} --bot ${one.botId}`, away);
  const inFolder = await one.run(['status', '--json', two.project], away);
  assert.equal((JSON.parse(inFolder.stdout) as StatusDocument).supervisor?.pid, second.pid);
  assert.match(
    (await one.exits(64, 'status project', away)).stderr,
    /project may mean any of:(\n .*from .*){2}/,
  );
  assert.match(
    (await one.run(`stop --bot ${two.botId}`, away)).stdout,
    new RegExp(`supervisor ${second.pid}`),
  );
  const table = await one.exits(0, 'ps', away);
  for (const words of ['list', 'ls', 'status --all'])
    assert.match((await one.exits(0, words, away)).stdout, /^ +BOT +STATE/, words);
  assert.match(table.stdout, new RegExp(`@\\w+ \\(${one.botId}\\) +polling +${first.pid}`));
  assert.match(table.stdout, new RegExp(`@${username} \\(${two.botId}\\) +not running`));
  await one.exits(3, `status --bot ${username}`, away);
  assert.match((await one.run(`stop --bot ${username}`, away)).stdout, /nothing to stop/);
  process.kill(first.pid, 'SIGSTOP');
  const hung = JSON.parse((await one.exits(1, 'status --all --json', away)).stdout) as StatusDocument[];
  process.kill(first.pid, 'SIGCONT');
  assert.ok(hung.some((doc) => doc.problems[0]?.code === 'supervisor-hung'));
  await one.exits(0, 'stop');
  await one.exits(3, 'status --all', away);
  assert.match((await one.run('logs', away)).stderr, /several bots have been run/);

  assert.match((await one.exits(64, 'stop --bot @nobody_bot')).stderr, /no bot @nobody_bot has been run/);
  for (const name of ['', '../x', one.token])
    assertNoToken((await one.exits(64, ['stop', '--bot', name])).stderr, one.token);
});
