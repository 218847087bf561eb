// Legacy pollers of a bot, as a machine has them before singlepoll comes: started from a project, orphaned,
// daemonised, with the token in an env file, in the environment or in the script.
import { copyFileSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type Bed, PYTHON, worker } from './bed.ts';
import type { Running } from './cli.ts';
import { findByEnv, readProc } from './proc.ts';
import { until } from './wait.ts';

/** Copies the Python poller under a legacy name into a folder and starts it there. */
export function legacyPoller(
  b: Bed,
  name: string,
  options: { args?: string[]; cwd?: string; env?: Record<string, string>; token?: string } = {},
): Running {
  const cwd = options.cwd ?? b.project;
  copyFileSync(worker('poller.py'), join(cwd, name));
  const env = options.env ?? { LEGACY_TOKEN: options.token ?? b.token, LEGACY_ROOT: b.sandbox.root };
  return b.spawn(PYTHON, [name, ...(options.args ?? [])], { cwd, env });
}

/** Pids of the fixture pollers of this name that polled so far. */
export function polledBy(b: Bed, name: string): number[] {
  const pids = b.sandbox
    .polls()
    .filter((poll) => poll.name === name && poll.pid !== null)
    .map((poll) => poll.pid as number);
  return [...new Set(pids)];
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== 'object' || !address) throw new Error('no port');
  return address.port;
}

/**
 * Starts `gunicorn app:app` with the polling thread, orphaned (its parent is gone), in `cwd`; waits until all its
 * processes are there. Gives their pids, the master first.
 */
export async function orphanedGunicorn(
  b: Bed,
  cwd: string,
  token: string,
  workers: number,
): Promise<number[]> {
  mkdirSync(cwd, { recursive: true });
  copyFileSync(worker('gunicorn/app.py'), join(cwd, 'app.py'));
  const mark = `${b.cookie}-${Math.random()}`;
  const port = await freePort();
  const command = `setsid gunicorn app:app --workers=${workers} --bind 127.0.0.1:${port} >gunicorn.out 2>&1 </dev/null & exit 0`;
  const env = {
    TELEGRAM_BOT_TOKEN: token,
    TELEGRAM_API_ROOT: b.sandbox.root,
    POLLING_ENABLED: '1',
    SP_TEST_GUNICORN: mark,
  };
  const shell = b.spawn('sh', ['-c', command], { cwd, env });
  await shell.exit();
  const all = () => findByEnv('SP_TEST_GUNICORN', mark);
  await until('gunicorn with its workers', () => all().length === workers + 1, {
    ms: 20_000,
    seen: () => all().join(' '),
  });
  const pids = all();
  const master = pids.find((pid) => !pids.includes(readProc(pid)?.ppid ?? -1)) ?? -1;
  return [master, ...pids.filter((pid) => pid !== master)];
}
