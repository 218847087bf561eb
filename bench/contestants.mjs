// Supervisors, each with the same worker and a bot of the sandbox, in a folder of its own: started, asked, ended.
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { allPids, readProc } from '../test/support/proc.ts';
import { npmPrograms } from '../test/support/programs.ts';
import { isRemoved, until } from '../test/support/wait.ts';
import * as scene from './scene.mjs';

/** PM2's min_uptime. */
const PM2_SETTLED_MS = 1_200;

function singlepoll({ home, env, words, output, command, options = [] }) {
  const saidFile = join(home, 'said');
  const said = () => readFileSync(saidFile, 'utf8');
  let child = null;
  let spawns = 0;
  return {
    launch() {
      const [out, err] = [openSync(output, 'a'), openSync(saidFile, 'w')];
      const worker = command ?? [scene.workerProgram(), ...words];
      const more = ['--max-restarts', '1000/1m', '--log-format', 'json', ...options];
      const stdio = ['ignore', out, err];
      child = spawn(scene.program, ['start', ...more, '--', ...worker], { env, cwd: home, stdio });
      for (const fd of [out, err]) closeSync(fd);
    },
    /** Resolves when the run counts as good: what follows a death now is an immediate restart. */
    async settled() {
      spawns += 1;
      const polling = () => said().split('"what":"polling"').length - 1;
      await until('singlepoll to see its worker poll', () => polling() >= spawns);
    },
    /** With the shell beside the supervisor, its guard. */
    pids: () => [
      child.pid,
      ...allPids()
        .filter((pid) => readProc(pid)?.ppid === child.pid)
        .filter((pid) => /^(?:sh|dash)\n$/.test(readFileSync(`/proc/${pid}/comm`, 'utf8'))),
    ],
    said,
    ended: () => until('its end', () => child.exitCode !== null, { ms: 150_000 }),
    close: () => scene.endAndWait(child.pid),
  };
}

function pm2({ home, env: plain, words, output }) {
  const env = { ...plain, PM2_HOME: join(home, 'pm2'), PM2_DISCRETE_MODE: 'true' };
  const pidFile = join(home, 'pm2/pm2.pid');
  const daemon = () => (existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : null);
  const program = join(npmPrograms('pm2', '7.0.4'), 'pm2');
  const run = (...of) => spawnSync(program, of, { env, cwd: home, stdio: 'ignore' });
  return {
    async launch() {
      const files = ['-o', output, '-e', `${output}.err`];
      run('start', scene.workerProgram(), '--interpreter', 'none', ...files, '--', ...words);
      await until('the PM2 daemon', daemon);
    },
    settled: () => pause(PM2_SETTLED_MS),
    pids: () => [daemon()],
    async close() {
      const pid = daemon();
      run('kill');
      if (pid !== null) await scene.endAndWait(pid);
    },
  };
}

const KINDS = { singlepoll, pm2 };

/** Nothing runs before `coldStartMs`. `bot` is { apiRoot, token }; `words` go to the worker. */
export function contestant(kind, bot, { words = ['poll'], ...rest } = {}) {
  const home = scene.newFolder(kind);
  const [output, stamps] = [join(home, 'output'), join(home, 'stamps')];
  const { apiRoot: TELEGRAM_API_ROOT, token: TELEGRAM_BOT_TOKEN } = bot;
  const env = scene.environment(home, { TELEGRAM_API_ROOT, TELEGRAM_BOT_TOKEN, BENCH_STAMPS: stamps });
  const its = KINDS[kind]({ home, env, words, output, ...rest });
  /** The times (ns) and pids that workers have written down. */
  const stamped = () => (existsSync(stamps) ? readFileSync(stamps, 'utf8').split('\n').slice(0, -1) : []);
  let read = 0;
  let worker = null;

  async function nextWorkerSince(beganNs) {
    const line = await until(`the worker of ${kind}`, () => stamped()[read], { everyMs: 3 });
    read += 1;
    const [ns, pid] = line.split(' ');
    worker = { ns: BigInt(ns), pid: Number(pid) };
    return scene.msBetween(beganNs, worker.ns);
  }

  return {
    ...its,
    env,
    output,
    /** From the command to the worker's first instruction. */
    async coldStartMs() {
      const beganNs = scene.nsNow();
      const launched = its.launch();
      const ms = await nextWorkerSince(beganNs);
      await launched;
      return ms;
    },
    /** From SIGKILL to the next worker's first instruction. */
    async restartMs() {
      await its.settled();
      const beganNs = scene.nsNow();
      process.kill(worker.pid, 'SIGKILL');
      return await nextWorkerSince(beganNs);
    },
    workerStartNs: () => worker.ns,
    /** Ends it and forgets its files. */
    async close() {
      await its.close();
      await until('the shell that writes the history of the run', () => isRemoved(home));
    },
  };
}
