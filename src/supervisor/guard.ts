/**
 * What ends the worker when the supervisor dies without a chance to: a shell of its own session that reads a pipe only the
 * supervisor holds. Each line names the process group to end, and processes that have left it (pid:start time). At the pipe's end
 * (the kernel closes it with the supervisor, however that died) what the last line names gets SIGKILL. Children outside of the group that
 * still carry SINGLEPOLL_RUN are left to the next start, which can tell what they are.
 *
 * Not the kernel's parent-death signal: that ends the first process alone, is lost with a change of user (setpriv, gosu, setuid), and takes
 * one more exec at each spawn.
 */
import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { PassThrough, type Writable } from 'node:stream';
import type { Offspring } from './worker-tree.ts';

// dash takes no `kill -9 -- -PGID`; `-s KILL` works in dash, bash and busybox. Field 22 of stat is the 20th behind the name.
const SCRIPT = `p=-;while read -r g k;do p=$g q=$k;done
[ "$p" = - ]||kill -s KILL -- "-$p"
for i in $q;do
read -r s <"/proc/\${i%:*}/stat"||continue
set -- \${s##*) };[ "\${20}" = "\${i#*:}" ]||continue
grep -q SINGLEPOLL_RUN= "/proc/\${i%:*}/environ";[ $? = 1 ]&&kill -s KILL "\${i%:*}"
done`;

/** Most workers that fork do so at their start. */
const EARLY_LOOKS_MS = [50, 200, 600, 1_600];

/** Where there is no shell (a distroless image) there is no guard, and that is no error. */
export function createGuard(offspring: Offspring) {
  let shell: Writable | null = null;
  let early: readonly NodeJS.Timeout[] = [];
  let present: number | null = null;
  let told = '';

  function tell(): void {
    // Somebody may end the shell, so its end makes room for another one.
    shell ??= startShell(() => {
      shell = null;
      told = '';
    });
    const escaped = offspring.escaped().map(({ pid, startId }) => ` ${pid}:${startId}`);
    const line = `${present ?? '-'}${escaped.join('')}\n`;
    if (line !== told) shell.write(line);
    told = line;
  }

  function look(): void {
    if (present === null) return;
    offspring.look(present);
    tell();
  }

  // The shell starts before the first worker, since a fork takes milliseconds in which that would be unguarded.
  tell();
  return {
    /** Names the group that has to go if the supervisor dies; null: none. */
    watch(pgid: number | null): void {
      for (const timer of early) clearTimeout(timer);
      present = pgid;
      tell();
      early = pgid === null ? [] : EARLY_LOOKS_MS.map((ms) => setTimeout(look, ms).unref());
    },
    /** To be called every few seconds: the worker may fork at any time. */
    look,
    /** Ends the guard itself; what it watched stays. */
    release(): void {
      present = null;
      shell?.end('-\n');
    },
  };
}

function startShell(ended: () => void): Writable {
  const stdio = ['pipe', 'ignore', 'ignore'] as const;
  const child = spawn('/bin/sh', ['-c', SCRIPT, 'singlepoll-guard'], {
    ...{ stdio: [...stdio], detached: true, env: {}, cwd: '/' },
  });
  child.on('error', () => {});
  child.once('exit', ended);
  child.unref();
  // With no descriptor left (EMFILE) Node makes a child without streams, against its typing.
  const stdin = (child.stdin as Socket | undefined) ?? new PassThrough().resume();
  stdin.on('error', () => {});
  if ('unref' in stdin) stdin.unref();
  return stdin;
}
