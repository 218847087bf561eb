// pgbouncer in transaction mode before a PostgreSQL of the tests, on a free port of loopback.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PG_PASSWORD, sql } from './engines.ts';
import { freePort } from './strays.ts';
import { until } from './wait.ts';

/** `server`: the port of PostgreSQL. Dies with the process that opened it; `close` removes its folder too. */
export async function openPgbouncer(server: number): Promise<{ port: number; close(): Promise<void> }> {
  const dir = mkdtempSync(join(tmpdir(), 'sp-pgbouncer-'));
  const port = await freePort();
  writeFileSync(join(dir, 'users'), `"postgres" "${PG_PASSWORD}"\n`);
  writeFileSync(
    join(dir, 'pgbouncer.ini'),
    `[databases]
postgres = host=127.0.0.1 port=${server} dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${dir}/users
pool_mode = transaction
default_pool_size = 3
`,
  );
  const root = process.getuid?.() === 0;
  if (root) execFileSync('chown', ['-R', 'postgres:', dir]);
  const as = root ? ['--reuid=postgres', '--regid=postgres', '--clear-groups'] : [];
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', ...as, '--', 'pgbouncer', join(dir, 'pgbouncer.ini')],
    { stdio: 'ignore' },
  );
  const close = async (): Promise<void> => {
    child.kill('SIGKILL');
    await until('pgbouncer to be gone', () => child.exitCode !== null || child.signalCode !== null);
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await until('pgbouncer to answer', () => sql(port, 'SELECT 1').catch(() => ''));
  } catch (error) {
    await close();
    throw error;
  }
  return { port, close };
}
