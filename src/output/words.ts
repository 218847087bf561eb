/** The supervisor's transitions as sentences, the small phrases that many places share, and colour by what a text means. */
import { fstatSync } from 'node:fs';
import type { LeaseEntry } from '../supervisor/status.ts';
import type { Saying } from '../supervisor/table.ts';
import { plain } from './plain.ts';

export type Level = 'info' | 'good' | 'warn' | 'error';

/** Colours a piece of text by level; the identity where colour is off. */
export type Paint = (level: Level | 'tag', text: string) => string;

export function isScreen({ isTTY }: { readonly isTTY?: boolean }): boolean {
  return isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}

/** chalk is loaded only where it is used: a service's log has no colour, and so no chalk. */
export async function painter(stream: { readonly isTTY?: boolean }): Promise<Paint> {
  if (!isScreen(stream)) return (_level, text) => text;
  const { Chalk } = await import('chalk');
  const chalk = new Chalk({ level: 1 });
  const paints = { tag: chalk.dim, good: chalk.green, warn: chalk.yellow, error: chalk.red, info: null };
  return (level, text) => paints[level]?.(text) ?? text;
}

/**
 * What a line of a level begins with on stderr where that is the journal of systemd, which takes the priority from there (sd-daemon(3);
 * systemd.exec(5), $JOURNAL_STREAM).
 */
export function journalMarks(): (level: Level) => string {
  const { JOURNAL_STREAM: stream } = process.env;
  if (!stream) return () => '';
  const { dev, ino } = fstatSync(2);
  return (level) => (stream === `${dev}:${ino}` ? (PRIORITY[level] ?? '') : '');
}

const PRIORITY: Readonly<Partial<Record<Level, string>>> = { error: '<3>', warn: '<4>' };

/** How the polls of a worker reach the gateway that does not use TELEGRAM_API_ROOT. */
export const WAYS = {
  hook: 'redirected',
  connect: 'through a proxy variable',
  absolute: 'through a proxy variable',
} as const;

export const RIVAL_ELSEWHERE =
  'no other poller found on this machine: it polls from elsewhere (another machine, user or container)';
export const RIVAL_CURE =
  'stop the other one (a laptop, an old server, a container), or revoke the token (@BotFather, /revoke)';

type Words = readonly [tag: string, text: string, level: Level];

const SAYINGS: { [W in Saying['what']]: (say: Extract<Saying, { what: W }>) => Words } = {
  exited: (say) => [
    'worker',
    `${say.pid === null ? 'it' : `pid ${say.pid}`} ended ${howItEnded(say)}${say.conflict ? ', its last words name a 409 conflict' : ''}`,
    'warn',
  ],
  restarting: ({ inMs, failures }) => [
    'worker',
    inMs === 0
      ? 'starting it again at once'
      : `starting it again in ${duration(inMs)} (${failures + 1} exits in a row)`,
    'info',
  ],
  polling: ({ pid }) => ['poll', `worker ${pid} polls`, 'good'],
  stopping: ({ reason }) => ['stop', `stopping: ${reason}`, 'info'],
  replacing: ({ reason }) => ['worker', `replacing the worker: ${reason}`, 'info'],
  yielding: ({ reason }) => ['lease', `stopping the worker: ${reason}`, 'info'],
  'standing-by': ({ reason }) => ['stray', `standing by until it is gone (--wait): ${reason}`, 'warn'],
  'handing-over': ({ reason }) => ['lock', `stopping the worker: ${reason}`, 'info'],
  killing: () => ['stop', 'asked again: killing now', 'warn'],
  'crash-loop': ({ exits, periodMs }) => [
    'worker',
    `crash loop: ${exits} exits within ${duration(periodMs)}; giving up. Its last lines:`,
    'error',
  ],
  'not-restarted': ({ policy }) => ['worker', `not started again (--restart ${policy})`, 'info'],
  survivors: (say) => ['stop', `${count(say.count, 'process')} of the worker survived SIGKILL`, 'error'],
};

export const words = (say: Saying): Words => (SAYINGS[say.what] as (say: Saying) => Words)(say);

export function howItEnded(exit: { code: number | null; signal: string | null }): string {
  return exit.signal === null ? `with code ${exit.code}` : `by ${exit.signal}`;
}

/** How a worker ended that was stopped, beside what `howItEnded` says of those that ended by themselves. */
export const ON_REQUEST = 'on request';

/** `48 MB`, `1.2 GB`; units are powers of 1024, as in the options. */
export function size(bytes: number): string {
  const mb = bytes / 1024 ** 2;
  return mb < 1_000 ? `${mb < 10 ? mb.toFixed(1) : Math.round(mb)} MB` : `${(mb / 1024).toFixed(1)} GB`;
}

/** `1 conflict`, `3 processes`. */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : noun.endsWith('s') ? 'es' : 's'}`;
}

/** `350 ms`, `12 s`, `4 min`, `3 h 20 min`, `5 d`: for people. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${Math.round(s * 10) / 10} s`;
  if (s < 120) return `${Math.round(s)} s`;
  const min = Math.floor(s / 60);
  if (min < 120) return `${min} min`;
  const h = Math.floor(min / 60);
  if (h < 48) return min % 60 === 0 ? `${h} h` : `${h} h ${min % 60} min`;
  return `${Math.floor(h / 24)} d`;
}

/** In whole seconds: what is drawn once a second must not show less. */
export function span(ms: number): string {
  return ms < 1_000 ? '0 s' : duration(Math.floor(ms / 1_000) * 1_000);
}

/** Of a worker that goes around the gateway, where other machines wait to poll. */
export const PAST_WITH_LEASE =
  'should the lease be lost, only killing the worker ends its polling, so two may poll for as long as that takes';

/** Who may poll, what comes next, and the rest in the order in which it matters. `nowMs` is wall-clock time. */
export function leaseParts(
  { engine, holder, mine, role, epoch, since, decision, unreachable }: LeaseEntry,
  nowMs: number,
): string[] {
  const nobody = role === 'none' ? 'nobody holds it' : 'nobody holds it yet';
  const other = holder === null ? nobody : `${plain(holder)} may poll`;
  const parts = mine ? ['ours'] : unreachable === null ? [other] : [];
  if (unreachable !== null) parts.push(`${engine} is out of reach`);
  if (decision !== null) {
    const left = span(Date.parse(decision.at) - nowMs);
    if (decision.what === 'stop') parts.push(`good for ${left}`);
    else if (unreachable !== null) parts.push(`taken over once ${engine} answers`);
    else parts.push(`ours in ${left} unless renewed`);
  }
  if (!mine && unreachable !== null) return parts;
  if (since !== null) parts.push(`since ${span(nowMs - Date.parse(since))}`);
  parts.push(`in ${engine}`);
  if (epoch !== null) parts.push(`epoch ${epoch}`);
  return parts;
}

export const leaseWords = (lease: LeaseEntry, nowMs: number): string => leaseParts(lease, nowMs).join(', ');
