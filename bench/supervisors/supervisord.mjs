// Debian's supervisord.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { provide } from '../debian.mjs';
import { adopt, endAndWait, until, workerProgram } from '../scene.mjs';

export const name = 'supervisord';

/** Null when it can be measured, else what is missing. */
export const prepare = () => provide('supervisord', 'supervisor');

export function create({ home, env, words, output }) {
  const file = join(home, 'supervisord.conf');
  const pidFile = join(home, 'supervisord.pid');
  writeFileSync(
    file,
    `[supervisord]
logfile=${join(home, 'supervisord.log')}
pidfile=${pidFile}
childlogdir=${home}
[unix_http_server]
file=${join(home, 'supervisor.sock')}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://${join(home, 'supervisor.sock')}
[program:w]
command=${workerProgram()} ${words.join(' ')}
autorestart=true
stdout_logfile=${output}
stdout_logfile_maxbytes=0
stderr_logfile=${output}.err
`,
  );
  const daemon = () => (existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) || null : null);
  return {
    async launch() {
      spawnSync('supervisord', ['-c', file], { env, cwd: home, stdio: 'ignore' });
      adopt(await until('supervisord', daemon));
    },
    // Its startsecs, and the turn of its loop that notices.
    settled: () => new Promise((resolve) => setTimeout(resolve, 2_200)),
    pids: () => [daemon()],
    status: ['supervisorctl', ['-c', file, 'status']],
    async close() {
      const pid = daemon();
      spawnSync('supervisorctl', ['-c', file, 'shutdown'], { env, stdio: 'ignore' });
      if (pid !== null) await endAndWait(pid);
    },
  };
}
