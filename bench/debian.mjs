// Programs of Debian that the benchmark measures against. As root they are installed by apt where they are missing; else the
// command is said.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const has = (program) =>
  spawnSync('sh', ['-c', `PATH=$PATH:/usr/sbin; command -v ${program}`], { stdio: 'ignore' }).status === 0;

/** Null when `program` is there, else what is missing. */
export function provide(program, debianPackage) {
  if (has(program)) return null;
  const command = `apt-get update && apt-get install -y --no-install-recommends ${debianPackage}`;
  if (process.getuid() === 0 && has('apt-get')) {
    console.error(`installing ${debianPackage}`);
    // The package would start a daemon of its own, which nobody asked for.
    const install = `printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d; ${command}; rm -f /usr/sbin/policy-rc.d`;
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    if (existsSync('/usr/sbin/policy-rc.d')) spawnSync('sh', ['-c', command], { env, stdio: 'ignore' });
    else spawnSync('sh', ['-c', install], { env, stdio: 'ignore' });
    if (has(program)) return null;
  }
  return `${program} is missing: sudo sh -c '${command}'`;
}
