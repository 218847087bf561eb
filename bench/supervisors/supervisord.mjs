// Debian's supervisord. As root it is installed by apt where it is missing; else the command is said.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { adopt, endAndWait, until, workerProgram } from '../scene.mjs';

export const name = 'supervisord';
const COMMAND = 'apt-get update && apt-get install -y --no-install-recommends supervisor';

const has = (program) => spawnSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' }).status === 0;

/** Null when it can be measured, else what is missing. */
export function prepare() {
  if (has('supervisord')) return null;
  if (process.getuid() === 0 && has('apt-get')) {
    console.error('installing supervisor');
    // The package would start a daemon of its own, which nobody asked for.
    const install = `printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d; ${COMMAND}; rm -f /usr/sbin/policy-rc.d`;
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    if (existsSync('/usr/sbin/policy-rc.d')) spawnSync('sh', ['-c', COMMAND], { env, stdio: 'ignore' });
    else spawnSync('sh', ['-c', install], { env, stdio: 'ignore' });
    if (has('supervisord')) return null;
  }
  return `supervisord is missing: sudo sh -c '${COMMAND}'`;
}

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
