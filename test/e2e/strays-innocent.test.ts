// Innocent processes that look like pollers of this bot, all running at once: `start` with broad patterns touches
// none of them, and still starts.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Bed, bed, node, PYTHON, randomToken, worker } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { alive, findByEnv, readProc } from '../support/proc.ts';
import { copyProgram } from '../support/program-copy.ts';
import { legacyPoller, orphanedGunicorn, polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
const PATTERNS = ['--stray', 'production_polling_bot\\.py', '--stray', 'gunicorn'];
const NOBODY = 65534;

interface Innocent {
  what: string;
  pids: number[];
}

/** Starts every innocent that runs beside; gives them with all their processes. */
async function crowd(b: Bed): Promise<Innocent[]> {
  const script = b.file('production_polling_bot.py', `import time\ntime.sleep(10000)\n`);
  const log = b.file('production_polling_bot.log', 'hello\n');
  spawnSync('mkfifo', [join(b.project, 'fifo')]);
  const withToken = { TELEGRAM_BOT_TOKEN: b.token, TELEGRAM_API_ROOT: b.sandbox.root };
  const crowd: Innocent[] = [];
  const add = (what: string, file: string, args: string[], options: Parameters<Bed['spawn']>[2] = {}) => {
    const mark = `${b.cookie}-${what}`;
    const run = b.spawn(file, args, { ...options, env: { TERM: 'xterm', SP_WHAT: mark, ...options.env } });
    crowd.push({ what, pids: [run.pid] });
    return { run, mark };
  };
  const inPty = [fixture('in-pty.py')];
  const marks = [
    add('editor', PYTHON, [...inPty, 'vim.tiny', '-n', script]),
    add('editor with the token', PYTHON, [...inPty, 'vim.tiny', '-n', 'production_polling_bot.py'], {
      env: withToken,
    }),
    add('pager', PYTHON, [...inPty, 'less', script]),
    add('pager on gunicorn.log', PYTHON, [...inPty, 'less', b.file('gunicorn.log', 'a\n'.repeat(500))]),
    add('log follower', 'tail', ['-f', log]),
    add('log follower with the token', 'tail', ['-F', log], { env: withToken }),
    add('shell with the token', PYTHON, [...inPty, 'bash', '--norc', '-i'], { env: withToken }),
    add('shell on a file of that name', PYTHON, [
      ...inPty,
      'sh',
      '-c',
      'read line < fifo # production_polling_bot.py',
    ]),
    add('grep', 'grep', ['-r', 'production_polling_bot.py', 'fifo']),
    add('sleeper with the token', 'sleep', ['10000'], { env: withToken }),
    add('cron-like sleeper', 'sh', ['-c', 'sleep 10000; echo gunicorn'], { env: withToken, cwd: '/' }),
    add('zombie', PYTHON, [fixture('zombie-maker.py'), b.file('quits.py', 'pass\n')]),
  ];
  for (const [index, { run, mark }] of marks.entries()) {
    const entry = crowd[index];
    if (!entry) continue;
    // Those on a terminal of their own have a child there.
    const wanted = run.child.spawnargs.some((arg) => arg.endsWith('in-pty.py')) ? 2 : 1;
    await until(entry.what, () => findByEnv('SP_WHAT', mark).length >= wanted, { seen: run.seen });
    entry.pids = findByEnv('SP_WHAT', mark);
  }

  const theirs = join(b.dir, 'other-bot');
  const otherToken = randomToken();
  b.sandbox.raw.addBot(otherToken);
  crowd.push({ what: 'gunicorn of another bot', pids: await orphanedGunicorn(b, theirs, otherToken, 1) });

  if (process.getuid?.() === 0) {
    const away = join(b.dir, 'nobody');
    mkdirSync(away);
    chmodSync(away, 0o755);
    copyFileSync(script, join(away, 'production_polling_bot.py'));
    const mark = `${b.cookie}-nobody`;
    const run = b.spawn(PYTHON, ['production_polling_bot.py'], {
      cwd: away,
      uid: NOBODY,
      env: { SP_WHAT: mark },
    });
    crowd.push({ what: 'process of another user', pids: [run.pid] });
  }
  return crowd;
}

test('innocent: all of them at once, none touched, and the worker starts', async (t) => {
  const b = await bed(t);
  const innocents = await crowd(b);
  const guilty = legacyPoller(b, 'working_polling_bot.py');
  await until('the guilty one to poll', () => polledBy(b, 'working_polling_bot.py').length > 0);
  const began = new Map(innocents.flatMap(({ pids }) => pids).map((pid) => [pid, readProc(pid)?.startTicks]));

  // singlepoll itself runs in a shell in a multiplexer that holds the token and has suspicious words as arguments.
  const socket = join(b.dir, 'tmux');
  const tmuxEnv = { ...b.env, TERM: 'xterm' };
  const command = `${process.execPath} ${PROGRAM} start ${PATTERNS.map((word) => `'${word}'`).join(' ')} -- ${node('polite.mjs').join(' ')} 2> err.log`;
  const tmux = b.spawn(
    'tmux',
    [
      '-S',
      socket,
      '-f',
      '/dev/null',
      'new-session',
      '-d',
      '-s',
      'gunicorn',
      '-n',
      'production_polling_bot_py',
      'sh',
    ],
    { env: tmuxEnv },
  );
  await tmux.exit();
  const send = b.spawn('tmux', ['-S', socket, 'send-keys', '-t', 'gunicorn', command, 'Enter'], {
    env: tmuxEnv,
  });
  await send.exit();
  const said = () => {
    try {
      return readFileSync(join(b.project, 'err.log'), 'utf8');
    } catch {
      return '';
    }
  };
  await until('the worker to poll', () => polledBy(b, 'polite.mjs').length > 0, { ms: 40_000, seen: said });
  const server = spawnSync('tmux', ['-S', socket, 'display', '-p', '#{pid} #{pane_pid}'], {
    encoding: 'utf8',
  });
  const host = server.stdout.trim().split(' ').map(Number);
  assert.equal(host.length, 2, server.stderr);

  await staysTrue('every innocent lives', 2500, () => {
    for (const { what, pids } of innocents) {
      for (const pid of pids) {
        assert.ok(alive(pid), `${what} (${pid}) is gone; said:\n${said()}`);
        assert.equal(readProc(pid)?.startTicks, began.get(pid), what);
      }
    }
    return true;
  });
  for (const pid of host) assert.ok(alive(pid), `multiplexer or its shell (${pid}) is gone`);
  assert.equal(alive(guilty.pid), false, 'while a guilty one beside them is gone');

  const who = await b.run(['who', '--json']);
  const sleeper = innocents.find(({ what }) => what === 'sleeper with the token')?.pids[0];
  assert.match(who.stdout, new RegExp(`\\b${sleeper}\\b`), 'the holder of the token is reported');

  const reset = await b.run(['reset', '--no-start', ...PATTERNS], { ms: 60_000 });
  assert.equal(reset.code, 0, reset.stderr);
  for (const { what, pids } of innocents) {
    for (const pid of pids) assert.ok(alive(pid), `${what} (${pid}) is gone; said:\n${reset.stderr}`);
  }
});

test('innocent: the worker of another bot in the same folder under the same state folder', async (t) => {
  const one = await bed(t);
  const two = await bed(t);
  const options = { cwd: one.project, env: { ...two.env, SINGLEPOLL_DIR: one.stateDir } };
  const other = await two.polling(['--', ...node('polite.mjs')], options);
  const pid = polledBy(two, 'polite.mjs')[0] ?? -1;
  await one.polling(['--', ...node('polite.mjs')]);
  await one.run(['stop']);
  assert.ok(alive(pid) && !other.ended(), other.seen());
});

test('another user: what cannot be inspected is counted and said; one that may not be stopped is 77', async (t) => {
  const b = await bed(t);
  if (process.getuid?.() !== 0) {
    // Without root there is always a process of root that cannot be inspected: pid 1.
    const run = await b.polling(['--', ...node('polite.mjs')]);
    assert.match(run.stderr(), /\d+ process.*(inspect|read|see)/i);
    return;
  }
  // The built program, copied to where the other user may read it.
  const copy = join(b.dir, 'program');
  const program = copyProgram(copy);
  copyFileSync(worker('polite.mjs'), join(copy, 'polite.mjs'));
  copyFileSync(worker('poll.mjs'), join(copy, 'poll.mjs'));
  const state = join(b.dir, 'state-of-nobody');
  mkdirSync(state, { mode: 0o700 });
  spawnSync('chown', [`${NOBODY}`, state, b.project]);
  const name = `bot_${b.cookie}.py`;
  writeFileSync(join(b.project, name), 'import time\ntime.sleep(10000)\n');
  const ours = b.spawn(PYTHON, [name]);
  const env = { ...b.env, SINGLEPOLL_DIR: state, HOME: '/nonexistent' };
  const start = (args: string[]) =>
    b.spawn(process.execPath, [program, 'start', ...args], {
      env,
      uid: NOBODY,
      cwd: b.project,
    });
  const refused = start([
    '--stray',
    name,
    '--stray-scope',
    'any',
    '--',
    process.execPath,
    join(copy, 'polite.mjs'),
  ]);
  assert.equal((await refused.exit()).code, 77, refused.seen());
  assert.match(refused.stderr(), new RegExp(`\\b${ours.pid}\\b`));
  assert.ok(alive(ours.pid));
  assert.equal(b.journal().length, 0, 'no worker was started');
  const run = start(['--', process.execPath, join(copy, 'polite.mjs')]);
  await until('the worker to poll', () => polledBy(b, 'polite.mjs').length > 0, { seen: run.seen });
  assert.match(run.stderr(), /\d+ process/i, 'those that could not be inspected are counted');
});
