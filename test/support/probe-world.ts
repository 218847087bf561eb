// The probe against the stand-in's own rules of getUpdates, on a virtual clock: rivals with retry delays of their own, faults,
// updates, a webhook. What the program does with sockets is done here with plain calls.

import { setMaxListeners } from 'node:events';
import { createArgs } from '../../src/gateway/params.ts';
import { type Answer, createBot, failure } from '../../src/sandbox/bot.ts';
import { type BotApi, classify, type Reply } from '../../src/telegram/bot-api.ts';
import { runProbe, type Verdict } from '../../src/telegram/probe.ts';
import { manualClock } from './manual-clock.ts';

/** What the updates of this world are dated with, seconds since 1970. */
export const NOW_S = 1_800_000_000;

export interface RivalOptions {
  /** From a 409 to its next poll; a list is gone through, its last one stays. Absent: it ends at a 409. */
  retryMs?: number | readonly number[];
  /** Of its long poll, seconds. */
  timeout?: number;
  /** When it begins. */
  atMs?: number;
  /** It ends at its n-th 409. */
  endsAfter?: number;
}

export interface Outcome {
  verdict: Verdict;
  /** When the verdict came, from the beginning. */
  atMs: number;
  /** The methods that the probe called. */
  calls: string[];
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
    const { retryMs, timeout = 30, atMs = -2_000, endsAfter = Number.POSITIVE_INFINITY } = options;
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
        clock.after(ids.length > 0 ? 5 : 0, poll);
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

  /** Runs a probe that begins 2 s after the world. `interfere` may abort it. */
  async function probe(
    askedMs: number,
    interfere: (at: (ms: number, act: () => void) => void, interrupt: AbortController) => void = () => {},
    supervisor: () => number | null = () => null,
  ): Promise<Outcome> {
    clock.advance(2_000);
    const beganMs = clock.nowMs();
    const nowMs = () => clock.nowMs() - beganMs;
    const calls: string[] = [];
    const interrupt = new AbortController();
    setMaxListeners(0, interrupt.signal);
    const given = (method: string) =>
      faults.find((it) => nowMs() < it.untilMs && (it.method === null || it.method === method));

    const api: Pick<BotApi, 'call'> = {
      call: <T>(method: string, params: Record<string, unknown> = {}, { timeoutMs = 0 } = {}) =>
        new Promise<Reply<T>>((resolve) => {
          calls.push(method);
          const answered = (answer: Answer) => {
            // One millisecond for the way back.
            clock.after(1, () => resolve(classify<T>(answer.status, JSON.stringify(answer.body))));
          };
          const out = (description: string) => resolve({ kind: 'outage', description });
          interrupt.signal.addEventListener('abort', () => out('given up'));
          const struck = given(method);
          if (struck?.answer) answered(struck.answer);
          else if (struck) clock.after(timeoutMs, () => out('it did not answer in time'));
          else if (method === 'getUpdates') call(params as Record<string, number>, answered);
          else bot.call(method, createArgs(), answered);
        }),
    };
    interfere((ms, act) => clock.after(ms, act), interrupt);
    let outcome: Outcome | null = null;
    const asked = runProbe(askedMs, {
      api,
      signal: interrupt.signal,
      supervisor: async () => supervisor(),
      beforeFirstPoll() {},
      clock: {
        now: () => clock.nowMs(),
        unixS: () => NOW_S,
        sleep: (ms) => new Promise((resolve) => clock.after(ms, () => resolve(null))),
      },
    }).then((verdict) => {
      outcome = { verdict, atMs: nowMs(), calls };
    });
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    for (let tick = 0; tick < 200_000 && !outcome; tick++) {
      await turn();
      clock.advance(10);
    }
    if (!outcome) throw new Error(`no verdict: ${calls.slice(-5)}`);
    await asked;
    return outcome;
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
