// The probe's decisions against the stand-in's own rules of getUpdates, on a virtual clock: rivals with retry delays of their
// own, faults, updates, a webhook. What the program's edge does with sockets is done here with plain calls.

import { createArgs } from '../../src/gateway/params.ts';
import { type Answer, createBot, failure } from '../../src/sandbox/bot.ts';
import { classify } from '../../src/telegram/bot-api.ts';
import { afterLook, afterPoll } from '../../src/telegram/probe.ts';
import {
  type ProbeAction,
  type ProbeEvent,
  startProbe,
  stepProbe,
  type Verdict,
} from '../../src/telegram/probe-table.ts';
import { manualClock } from './manual-clock.ts';

/** What the updates of this world are dated with, seconds since 1970. */
export const NOW_S = 1_800_000_000;

export interface RivalOptions {
  /** From a 409 to its next poll; a list is gone through, its last one stays. Absent: it ends at a 409. */
  retryMs?: number | readonly number[];
  /** Of its long poll, seconds. */
  timeout?: number;
  /** What it takes to handle updates before it polls again. */
  handleMs?: number;
  /** When it begins. */
  atMs?: number;
  /** It ends at its n-th 409. */
  endsAfter?: number;
}

export interface Outcome {
  verdict: Verdict;
  /** When the verdict came, from the beginning. */
  atMs: number;
  /** What the probe did, each with its time. */
  actions: { action: ProbeAction; atMs: number }[];
}

export function probeWorld() {
  const clock = manualClock();
  const bot = createBot(clock, 500_000);
  const startMs = clock.nowMs();
  const faults: { answer: Answer | null; method: 'getUpdates' | 'getWebhookInfo' | null; untilMs: number }[] =
    [];
  const rivals: { conflicts: number; polls: number; handled: number[]; ended: boolean }[] = [];

  function call(params: Record<string, number>, reply: (answer: Answer) => void): void {
    const texts = Object.entries(params).map(([name, value]) => [name, String(value)]);
    bot.call('getUpdates', createArgs(Object.fromEntries(texts)), reply);
  }

  function rival(options: RivalOptions = {}) {
    const {
      retryMs,
      timeout = 30,
      handleMs = 5,
      atMs = -2_000,
      endsAfter = Number.POSITIVE_INFINITY,
    } = options;
    const self = { conflicts: 0, polls: 0, handled: [] as number[], ended: false };
    rivals.push(self);
    let offset = 0;
    const delays = retryMs === undefined ? null : typeof retryMs === 'number' ? [retryMs] : retryMs;
    const poll = () => {
      self.polls += 1;
      call({ offset, timeout }, (answer) => {
        if (answer.status === 409) {
          const delay = delays?.[Math.min(self.conflicts, delays.length - 1)];
          self.conflicts += 1;
          if (delay === undefined || self.conflicts >= endsAfter) self.ended = true;
          else clock.after(delay, poll);
          return;
        }
        const ids = answer.delivered ?? [];
        self.handled.push(...ids);
        if (ids.length > 0) offset = (ids.at(-1) as number) + 1;
        clock.after(ids.length > 0 ? handleMs : 0, poll);
      });
    };
    clock.after(atMs + 2_000, poll);
    return self;
  }

  /** Until `untilMs` calls get this instead; null: they are never answered, and the client gives up 5 s after the time-out. */
  function fault(
    answer: Answer | null,
    untilMs = Number.POSITIVE_INFINITY,
    method: 'getUpdates' | 'getWebhookInfo' | null = null,
  ) {
    faults.push({ answer, method, untilMs });
  }

  /** Runs a probe that begins 2 s after the world. */
  function probe(
    askedMs: number,
    interfere: (at: (ms: number, act: () => void) => void) => void = () => {},
  ): Outcome {
    clock.advance(2_000);
    const beganMs = clock.nowMs();
    const nowMs = () => clock.nowMs() - beganMs;
    const actions: Outcome['actions'] = [];
    let outcome: { verdict: Verdict; atMs: number } | null = null;
    let { probe: state, action } = startProbe(askedMs, clock.nowMs());
    const isStruck = (method: string) =>
      faults.find((it) => nowMs() < it.untilMs && (it.method === null || it.method === method));
    const onEvent = (event: ProbeEvent) => {
      if (outcome) return;
      ({ probe: state, action } = stepProbe(state, event, clock.nowMs()));
      begin();
    };
    const begin = () => {
      actions.push({ action, atMs: nowMs() });
      if (action.kind === 'end') outcome = { verdict: action.verdict, atMs: nowMs() };
      else clock.after(action.afterMs, () => carryOut(action));
    };
    const carryOut = (wanted: ProbeAction) => {
      if (wanted.kind === 'end') return;
      const sentAtMs = clock.nowMs();
      const isLook = wanted.kind === 'look';
      const answered = (answer: Answer) => {
        const reply = classify<never>(answer.status, JSON.stringify(answer.body), 0);
        // One millisecond for the way back.
        clock.after(1, () => onEvent(isLook ? afterLook(reply) : afterPoll(reply, sentAtMs, NOW_S)));
      };
      const struck = isStruck(isLook ? 'getWebhookInfo' : 'getUpdates');
      if (struck?.answer) return answered(struck.answer);
      if (struck) {
        const giveUpMs = (wanted.kind === 'poll' ? wanted.timeoutS * 1000 : 0) + 5_000;
        clock.after(giveUpMs, () =>
          onEvent({ kind: 'fault', text: 'it did not answer in time', retryAfterMs: null }),
        );
        return;
      }
      if (isLook) bot.call('getWebhookInfo', createArgs(), answered);
      else call({ timeout: (wanted as { timeoutS: number }).timeoutS, limit: 1 }, answered);
    };
    interfere((ms, act) => clock.after(ms, act));
    begin();
    for (let tick = 0; tick < 200_000 && !outcome; tick++) clock.advance(10);
    if (!outcome) throw new Error(`no verdict: ${JSON.stringify(actions.slice(-5))}`);
    return { ...(outcome as { verdict: Verdict; atMs: number }), actions };
  }

  return {
    clock,
    bot,
    rivals,
    rival,
    fault,
    probe,
    /** Adds a message; gives its id. */
    text: (date = NOW_S) => bot.push({ message: { text: 'x', date } }),
    setWebhook: (url: string) => bot.call('setWebhook', createArgs({ url }), () => {}),
    deleteWebhook: () => bot.call('deleteWebhook', createArgs(), () => {}),
    badGateway: failure(502, 'Bad Gateway'),
    sinceStartMs: () => clock.nowMs() - startMs,
  };
}
