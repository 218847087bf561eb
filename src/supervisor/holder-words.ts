/** Words about who keeps a bot from us, and the command that ends it. */
import { userInfo } from 'node:os';
import { dirname } from 'node:path';
import { EXIT, SinglepollError } from '../errors.ts';
import type { Holder, Squatter } from '../lock/lock.ts';
import { plain } from '../output/plain.ts';
import { duration } from '../output/words.ts';

/** `pid 4711 (alice) since 2026-11-21 09:12:31 (2 h), from /srv/bot`. */
export function describe(holder: Holder | null): string {
  if (!holder) return 'a process that the kernel does not show (another user or container)';
  const parts = [holder.pid === null ? 'a process that can’t be seen from here' : `pid ${holder.pid}`];
  if (isForeign(holder.uid)) parts.push(`(${userName(holder.uid)})`);
  if (holder.kind === 'old') parts.push('(singlepoll of an older release, which can’t prove itself)');
  if (holder.startedAt) {
    const age = Date.now() - Date.parse(holder.startedAt);
    parts.push(
      `since ${holder.startedAt.slice(0, 19).replace('T', ' ')} UTC (${duration(Math.max(0, age))}),`,
    );
  }
  if (holder.cwd) parts.push(`from ${plain(holder.cwd)}`);
  if (holder.elsewhere) parts.push('(in another container)');
  if (isNoSinglepoll(holder))
    parts.push(`(${plain(holder.comm ?? 'unknown')}, no singlepoll; it does not answer)`);
  else if (!holder.answers) parts.push('(does not answer: hung or stopped)');
  return parts.join(' ');
}

/** The error of a command that needs the lock which this one holds. `control`: the socket in the own state folder. */
export function held(holder: Holder | null, control: string | null): SinglepollError {
  return new SinglepollError(
    EXIT.otherPoller,
    holder && isNoSinglepoll(holder)
      ? `a name of this bot's lock is held by a process that does not answer: ${describe(holder)}`
      : `this bot has a supervisor already: ${describe(holder)}`,
    isReachable(holder, control)
      ? 'singlepoll start --takeover …    # ask it to hand over, then take its place\n' +
          'singlepoll stop                  # or end it\n' +
          'singlepoll start --wait …        # or stand by until it leaves'
      : cure(holder, control),
  );
}

/** It can't be asked, or does not answer. */
export function cannotAsk(holder: Holder | null, control: string | null): SinglepollError {
  return new SinglepollError(
    EXIT.otherPoller,
    `the holder can't be asked to hand over: ${describe(holder)}`,
    isReachable(holder, control)
      ? 'singlepoll reset    # stops it, if need be with SIGKILL, and starts again'
      : cure(holder, control),
  );
}

/** All names are bound by liars. */
export function squatted(botId: string, squatters: readonly Squatter[]): SinglepollError {
  const rows = squatters.map(({ pid, uid, comm }) => {
    const who = pid === null ? 'a process that can’t be seen from here' : `pid ${pid} (${plain(comm ?? '')})`;
    return `${who} of ${userName(uid)}`;
  });
  const pids = [...new Set(squatters.map(({ pid }) => pid))].filter((pid) => pid !== null);
  const unseen = pids.length === 0;
  return new SinglepollError(
    EXIT.otherPoller,
    `all names of the lock of bot ${botId} are held by somebody who is no supervisor of it: ${[...new Set(rows)].join(', ')}`,
    unseen
      ? `sudo ss -xlpH | grep -a singlepoll/${botId}/    # shows the pids to kill`
      : `${squatters.some(({ uid }) => isForeign(uid)) ? sudo() : ''}kill ${pids.join(' ')}`,
  );
}

/** The error of a supervisor that does not answer, or may not be asked. */
export function unreachable(holder: Holder | null, control: string | null): SinglepollError {
  const foreign = holder !== null && isForeign(holder.uid) && !holder.elsewhere;
  const who = holder?.pid ? `the supervisor (pid ${holder.pid})` : 'the supervisor';
  if (holder && isNoSinglepoll(holder)) return held(holder, control);
  if (foreign)
    return new SinglepollError(
      EXIT.refused,
      `${who} belongs to another user (${userName(holder.uid)})`,
      cure(holder, control),
    );
  if (holder?.elsewhere)
    return new SinglepollError(EXIT.otherPoller, `${who} runs in another container`, cure(holder, control));
  if (holder?.kind === 'supervisor' && !isReachable(holder, control))
    return new SinglepollError(
      EXIT.otherPoller,
      `${who} runs with another state folder: its control socket is ${plain(holder.control ?? 'unknown')}`,
      cure(holder, control),
    );
  return new SinglepollError(
    EXIT.otherPoller,
    holder?.answers
      ? `${who} runs, but can't be reached at its control socket ${plain(control ?? '')}`
      : `${who} does not answer: hung or stopped`,
    'singlepoll reset    # ends it, if need be with SIGKILL, and starts again',
  );
}

/** The command that ends this one. */
export function cure(holder: Holder | null, control: string | null): string {
  if (!holder) return 'sudo singlepoll reset    # as root more can be seen';
  if (holder.elsewhere) return 'singlepoll stop    # in its container, or stop that container';
  if (holder.pid === null && holder.kind !== 'supervisor')
    return 'sudo singlepoll reset    # as root its process can be seen';
  if (isNoSinglepoll(holder)) return `${isForeign(holder.uid) ? sudo() : ''}kill ${holder.pid}`;
  const folder = holder.control === null ? '' : dirname(dirname(holder.control));
  const named = /^[\w./@%+,:-]+$/.test(folder) ? `SINGLEPOLL_DIR=${folder} ` : null;
  if (isForeign(holder.uid)) {
    if (holder.kind !== 'supervisor') return `${sudo()}kill ${holder.pid}    # ends it in order`;
    const env = named && !folder.endsWith('/.local/state/singlepoll') ? `env ${named}` : '';
    return `sudo -u '#${holder.uid}' ${env}singlepoll stop`;
  }
  if (isReachable(holder, control)) return 'singlepoll stop';
  if (holder.kind === 'old') return `kill ${holder.pid}    # ends it in order; then start again`;
  if (holder.kind === 'silent')
    return 'singlepoll reset    # ends it, if need be with SIGKILL, and starts again';
  return named
    ? `${named}singlepoll stop    # in its own state folder\nsinglepoll reset    # or end it by signals, and start again`
    : `kill ${holder.pid}    # ends it in order`;
}

/** It listens where this user's commands go. */
function isReachable(holder: Holder | null, control: string | null): boolean {
  if (holder === null || holder.kind === 'silent' || holder.control === null) return false;
  return holder.control === control && !isForeign(holder.uid) && !holder.elsewhere;
}

/** Said only of what is known. */
function isNoSinglepoll({ kind, runsSinglepoll }: Holder): boolean {
  return kind === 'silent' && runsSinglepoll === false;
}

function isForeign(uid: number | null): boolean {
  return uid !== null && uid !== process.geteuid?.();
}

function sudo(): string {
  return process.geteuid?.() === 0 ? '' : 'sudo ';
}

function userName(uid: number | null): string {
  if (uid === null) return 'another user';
  if (uid === process.geteuid?.()) return ownName();
  return uid === 0 ? 'root' : `user ${uid}`;
}

function ownName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'this user';
  }
}
