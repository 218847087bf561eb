/**
 * Events and effects of the supervisor's table as lines of text, for the tests of its cells.
 * `swept`, `probed`, `tree-stopped`, `backoff-due` answer the question that was asked last, `exited`, `spawned`, `good-due` mean the last
 * spawn; `#n` after the word names another one.
 */

import { words } from '../../src/output/words.ts';
import type { Effect, Event, Policy, State } from '../../src/supervisor/table.ts';

export const POLICY: Policy = {
  restart: 'always',
  backoffMinMs: 1_000,
  backoffMaxMs: 30_000,
  maxRestarts: 10,
  maxRestartsPeriodMs: 300_000,
  goodAfterMs: 5_000,
  readyWhenGood: true,
  lease: false,
  wait: false,
};

/** One event; throws on what it does not know. */
export function parseEvent(atMs: number, text: string, state: State): Event {
  const [word = '', ...all] = text.split(/\s+/);
  const named = all[0]?.startsWith('#') ? Number(all.shift()!.slice(1)) : null;
  const question = named ?? state.question;
  const spawn = named ?? state.spawn;
  const rest = all.join(' ');
  switch (word) {
    case 'booted':
    case 'polled':
      return { atMs, kind: word };
    case 'leased':
      return { atMs, kind: 'leased', question };
    case 'unleased':
      return { atMs, kind: 'unleased', reason: rest };
    case 'probed':
      return { atMs, kind: 'probed', question, wasOut: rest === 'out' };
    case 'swept':
      return { atMs, kind: 'swept', question, blocked: rest === '' ? null : ending(rest) };
    case 'spawned':
      return { atMs, kind: 'spawned', spawn, pid: Number(rest) };
    case 'exited':
      return { atMs, kind: 'worker-exited', spawn, ...exit(all) };
    case 'tree-stopped':
      return {
        atMs,
        kind: 'tree-stopped',
        question,
        survivors: Number(/^survivors=(\d+)$/.exec(rest)?.[1] ?? 0),
      };
    case 'ask-stop':
    case 'ask-restart':
    case 'ask-handover':
      return { atMs, kind: word, reason: rest };
    case 'blocked':
      return { atMs, kind: 'blocked', ending: ending(rest) };
    case 'good-due':
      return { atMs, kind: 'good-due', spawn };
    case 'backoff-due':
      return { atMs, kind: 'backoff-due', question };
    default:
      throw new Error(`no such event: ${text}`);
  }
}

/** `75 a stray comes back`. */
function ending(text: string) {
  const [, code, reason] = /^(\d+) (.+)$/.exec(text) ?? [];
  if (code === undefined || reason === undefined) throw new Error(`not an ending: ${text}`);
  return { code: Number(code), reason };
}

/** `1`, `SIGKILL`, then `conflict`, `in-doubt` and `random=0.5` where they matter. */
function exit([how = '', ...rest]: readonly string[]) {
  const random = rest.find((word) => word.startsWith('random='))?.slice(7);
  return {
    code: /^\d+$/.test(how) ? Number(how) : null,
    signal: /^SIG/.test(how) ? how : null,
    conflict: rest.includes('conflict'),
    apiInDoubt: rest.includes('in-doubt'),
    random: Number(random ?? 0.5),
  };
}

/** What is to be done, in order, then the phase that follows. */
export function showStep(state: State, effects: readonly Effect[]): string[] {
  return [...effects.map(showEffect), `→ ${state.phase}`];
}

function showEffect(effect: Effect): string {
  switch (effect.do) {
    case 'seek':
      return `seek #${effect.question}`;
    case 'release':
      return 'release';
    case 'sweep':
      return `sweep #${effect.question}${effect.first ? ', the first' : ''}`;
    case 'spawn':
      return `spawn #${effect.spawn}`;
    case 'probe':
      return `probe #${effect.question}`;
    case 'stop-tree':
      return `stop-tree #${effect.question}`;
    case 'kill-tree':
      return 'kill-tree';
    case 'good-timer':
      return `good-timer #${effect.spawn} at ${effect.atMs}`;
    case 'backoff-timer':
      return `backoff-timer #${effect.question} at ${effect.atMs}`;
    case 'say':
      return `say [${words(effect.say)[0]}] ${words(effect.say)[1]}`;
    case 'exit':
      return `exit ${effect.code}: ${effect.reason}${effect.clean ? '' : ' (not clean)'}`;
  }
}
