// The history of a bot by minutes: what each minute is, how long nobody polled and why; through ends of supervisors, and through clocks
// that are set, stop, or begin in 1970.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { discreetDay } from '../../src/http/page.ts';
import { dayLine, historyDocument, historyScreen } from '../../src/output/history-view.ts';
import {
  type Condition,
  DAY_MS,
  type History,
  historyOf,
  KEPT_MS,
  MINUTE_STATES,
  type Recording,
  resumed,
  step,
  summarise,
} from '../../src/supervisor/history.ts';
import { newRecord, noted, type StatusEvent, type StatusRecord } from '../../src/supervisor/record.ts';
import { conditionOf } from '../../src/supervisor/recorder.ts';
import type { LeaseEntry } from '../../src/supervisor/status.ts';
import { statusDocument } from '../../src/supervisor/status-document.ts';
import { initial, type State } from '../../src/supervisor/table.ts';
import { waitWords } from '../../src/supervisor/until-ready.ts';
import { createRandom } from '../simulation/random.ts';
import { sampleLease, sampleStatus } from '../support/status-sample.ts';

const T0 = Date.UTC(2026, 10, 21, 12);
const S = 1_000;
const MIN = 60 * S;
const stateOf = (letter: string) => MINUTE_STATES.find((state) => state.startsWith(letter))!;

/** A supervisor that looks every five seconds; `jump` sets the wall clock, `stall` is time without a look. */
function supervisor(saved: History | null = null, { atMs = T0, first = 'r' } = {}) {
  const condition = (letter: string, more: Partial<Condition> = {}): Condition => ({
    state: stateOf(letter),
    cause: letter === 'p' ? null : `why ${letter}`,
    ...more,
  });
  let at = { unixMs: atMs, elapsedMs: 5_000 };
  let now = condition(first);
  let it: Recording = resumed(saved, at, now);
  const look = () => {
    it = step(it, at, now);
  };
  const pass = (ms: number) => {
    at = { unixMs: at.unixMs + ms, elapsedMs: at.elapsedMs + ms };
  };
  const self = {
    /** `p5m r2`: it is so for five minutes, then for two seconds. */
    is(script: string, more: Partial<Condition> = {}) {
      for (const [, letter, number, unit] of script.matchAll(/([a-z])(\d+)(m?)/g)) {
        now = condition(letter!, more);
        look();
        for (let left = Number(number) * (unit ? MIN : S); left > 0; left -= 5 * S) {
          pass(Math.min(left, 5 * S));
          look();
        }
      }
      return self;
    },
    jump(ms: number) {
      at = { ...at, unixMs: at.unixMs + ms };
      look();
      return self;
    },
    stall(ms: number) {
      pass(ms);
      look();
      return self;
    },
    ends(cause = 'no supervisor ran: asked') {
      now = { state: 'restart', cause, isOver: true };
      look();
      return it.history;
    },
    history: () => it.history,
    seen: () => spansOf(it.history),
    nowMs: () => at.unixMs,
  };
  return self;
}

/** One that polls from the beginning. */
const polled = () => supervisor(null, { first: 'p' });

const spansOf = ({ spans, open }: History) =>
  [...spans, ...(open ? [open] : [])].map(({ state, fromMs, lastedMs, times, cause }) =>
    [
      state,
      (fromMs - T0) / S,
      lastedMs / S,
      ...(times > 1 ? [`×${times}`] : []),
      ...(cause?.startsWith('why') ? [] : [cause]),
    ].join(' '),
  );

describe('minutes and spans', () => {
  test('of a minute the worst; a restart that takes long is a gap from its beginning', () => {
    const it = supervisor().is('r2 p118').is('r29', { cause: 'why 2' }).is('p31');
    it.is('r31 p29 o10 r1 p49 c5 p55 s60');
    assert.equal(it.history().minutes, 'rprgocss');
    assert.deepEqual(it.seen(), [
      'restart 0 2',
      'restart 120 29',
      'gap 180 31',
      'outage 240 10',
      'restart 250 1',
      'conflict 300 5',
      'standby 360 60',
    ]);
  });

  test('what repeats soon is one entry with its number; the number of entries and minutes is bounded', () => {
    const it = polled();
    for (let i = 0; i < 20; i++) it.is('r1 p4m');
    assert.deepEqual(it.seen(), ['restart 0 20 ×20']);
    for (let i = 0; i < 400; i++) it.is('r1', { cause: `why ${i}` }).is('p30m');
    const { minutes, spans } = it.history();
    assert.equal(minutes.length, KEPT_MS / MIN);
    assert.equal(spans.length, 300);
    assert.ok(JSON.stringify(it.history()).length < 100_000);
  });

  test('silence that is noticed late counts from its beginning', () => {
    const it = polled().is('p5m');
    it.is('g10', { agoMs: 2 * MIN }).is('r1 p1m');
    assert.deepEqual(it.seen(), ['gap 180 131']);
    assert.match(it.history().minutes, /^pppggg+p*$/);
  });
});

describe('from one supervisor to the next', () => {
  test('the time between them is a gap, with the reason of the end, or that there was none', () => {
    const first = polled().is('p2m');
    const left = historyOf(JSON.parse(JSON.stringify(first.ends()))) as History;
    const second = supervisor(left, { atMs: T0 + 10 * MIN }).is('r2 p58');
    assert.deepEqual(second.seen(), ['gap 120 482 no supervisor ran: asked']);
    assert.match(second.history().minutes, /^ppg{9}p?$/);
    const third = supervisor(second.history(), { atMs: T0 + 20 * MIN }).is('r1 p1m');
    assert.equal(third.seen()[1], 'gap 660 541 no supervisor ran: killed, or the machine was off');
    // Asked to end while it waits for the next worker: the gap behind it has the reason of the end.
    const crashing = supervisor(polled().is('p2m r5').ends(), { atMs: T0 + 10 * MIN }).is('r1 p1m');
    assert.deepEqual(crashing.seen(), ['restart 120 5', 'gap 125 476 no supervisor ran: asked']);
    // At once: a restart, no gap.
    const fourth = supervisor(third.ends(), { atMs: third.nowMs() + S }).is('r1 p1m');
    assert.equal(fourth.seen().at(-1), 'restart 1261 2 no supervisor ran: asked');
  });

  test('after more than seven days nothing but the gap is left', () => {
    const old = polled().is('o1m p1m').ends();
    const { minutes, spans, open } = supervisor(old, { atMs: T0 + 9 * DAY_MS })
      .is('r1 p1')
      .history();
    assert.match(minutes, new RegExp(`^g{${KEPT_MS / MIN}}$`));
    assert.equal([...spans, ...(open ? [open] : [])].length, 1);
  });

  test('a file that makes no sense is no history', () => {
    const good = supervisor().is('r1 p1m').history();
    assert.deepEqual(historyOf(JSON.parse(JSON.stringify(good))), good);
    for (const change of [{ version: 2 }, { minutes: 1 }, { spans: null }])
      assert.equal(historyOf({ ...good, ...change }), null, JSON.stringify(change));
    for (const bad of [null, [], 'x', {}]) assert.equal(historyOf(bad), null);
  });
});

describe('clocks', () => {
  test('set back, the time after it is written anew; set ahead, what is skipped is not known', () => {
    const back = polled().is('p30m o2m p28m');
    back.jump(-50 * MIN).is('p5m');
    assert.match(back.history().minutes, /^p{15,16}$/);
    assert.deepEqual(back.seen(), []);
    const ahead = polled().is('p10m');
    ahead.jump(60 * MIN).is('p10m');
    assert.match(ahead.history().minutes, /^p{10,11}\.{59,60}p{10,11}$/);
    assert.deepEqual(ahead.seen(), []);
    // In the middle of an outage.
    const during = polled()
      .is('p10m o5m')
      .jump(-8 * MIN)
      .is('o5m p1');
    assert.deepEqual(during.seen(), ['outage 420 300']);
  });

  test('time in which the supervisor stood still is a gap; a machine that begins in 1970 forgets nothing', () => {
    const it = polled()
      .is('p10m')
      .stall(60 * MIN)
      .is('p10m');
    assert.equal(it.history().minutes.replace(/(.)\1*/g, '$1'), 'pgp');
    assert.match(it.seen().join(), /^gap 600 3600 the supervisor stood still/);
    const saved = it.ends();
    const booted = supervisor(saved, { atMs: 3 * MIN }).is('p5m');
    assert.deepEqual({ ...booted.history(), end: saved.end }, saved);
    booted.jump(saved.untilMs + 60 * MIN - booted.nowMs()).is('p5m');
    assert.equal(booted.history().minutes.replace(/(.)\1*/g, '$1'), 'pgp.p');
  });

  test('whatever clocks and supervisors do: minutes, sums and spans fit together', () => {
    for (let seed = 1; seed <= 15; seed++) {
      const { next: random, int } = createRandom(seed);
      const pick = (n: number) => int(0, n - 1);
      let it = polled();
      for (let i = 0; i < 40; i++) {
        const what = pick(10);
        if (what === 0) it.jump((random() - 0.5) * 2 * 3 * DAY_MS);
        else if (what === 1) it.stall(pick(3 * 60) * MIN);
        else if (what === 2)
          it = supervisor(pick(2) ? it.ends() : it.history(), {
            atMs: it.nowMs() + (random() - 0.3) * DAY_MS,
          });
        else it.is(`${'psrocg'[pick(6)]}${pick(pick(2) ? 5 : 90 * 60)}`);
        const history = it.history();
        assert.ok(historyOf(JSON.parse(JSON.stringify(history))), `seed ${seed}`);
        assert.ok(history.untilMs <= it.nowMs() + 2_000, `seed ${seed}: nothing of the future`);
        const day = summarise(history, DAY_MS);
        const minutes = Object.values(day.sums).reduce((a, b) => a + b);
        assert.equal(minutes, 24 * 60);
        for (const span of day.spans) {
          const seen = `seed ${seed} ${JSON.stringify(span)}`;
          assert.ok(span.fromMs >= day.fromMs - 1 && span.untilMs <= day.untilMs, seen);
          assert.ok(span.lastedMs <= span.untilMs - span.fromMs + 1, seen);
        }
      }
    }
  });
});

const FRESH = newRecord(
  { bot: null, supervisor: { pid: 1, startedAt: '', version: '', command: [], cwd: '' }, deafAfterMs: 1 },
  'gateway',
);
const FLOOD = { kind: 'flood', retryAfterMs: 5 } as const;
const leaseSource = (lease: LeaseEntry) => ({ lease: { status: () => lease, problem: () => null } });

test('what is so, by the record of a run', () => {
  const at = { atMs: 1_000_000, at: '' };
  const after = (...events: StatusEvent[]) => events.reduce((old, event) => noted(old, event, at), FRESH);
  const to = (phase: State['phase'], more: Partial<State> = {}): StatusEvent => ({
    kind: 'step',
    state: { ...initial, phase, fresh: false, ...more },
  });
  const polling = [to('polling', { pid: 7 }), { kind: 'completed', updates: 0 } as const];
  const exit = { code: 1, signal: null, atMs: 1 };
  const overlap = { sinceMs: 0, kicks: 2, isRival: true };
  const asked = { to: 'exit', code: 0, reason: 'asked' } as const;
  const replaced = { to: 'respawn', reason: 'asked to' } as const;
  const seen = (record: StatusRecord, more = {}, laterMs = 0, calmMs = 90_000) => {
    const { state, cause } = conditionOf(record, more, at.atMs + laterMs, calmMs);
    return cause === null ? state : `${state}: ${cause}`;
  };
  const lease = (more: object) => leaseSource({ ...sampleLease, ...more });
  const silent = { gateway: { latencyMs: () => null, pollers: () => [], pollOpenMs: () => 0 } };
  for (const [what, is] of [
    [seen(FRESH), 'restart: a supervisor was started'],
    [seen(after(...polling)), 'polled'],
    [seen(after(...polling), silent, 80_000), 'gap: the worker lived and did not poll'],
    [seen(after(...polling), silent, 80_000, 60_000), 'polled'],
    [seen(after(...polling, to('backoff', { lastExit: exit }))), 'restart: the worker ended with code 1'],
    [seen(after(...polling, to('stopping', { headed: replaced }))), 'restart: asked to'],
    [seen(after(...polling, to('stopping', { headed: asked }))), 'restart: no supervisor ran: asked'],
    [seen(after(to('standby')), lease({ holder: null })), 'restart'],
    [seen(after(to('standby')), lease({})), 'standby: box-a:4711 may poll'],
    [seen(after(to('standby')), lease({ unreachable: 'x' })), 'outage: redis is out of reach'],
    [seen(after(...polling, { kind: 'api', problem: 'out of reach' })), 'outage: out of reach'],
    [seen(after(...polling, FLOOD)), 'outage: the Bot API asked for a pause (429)'],
    [seen(after(...polling, { kind: 'overlap', overlap })), 'conflict: a rival took the poll (409)'],
    [seen(after(...polling, { kind: 'named-conflict' })), 'conflict: another poller took the poll (409)'],
    [seen(after(...polling, { kind: 'named-conflict' }), {}, 11_000), 'polled'],
    [seen(after(...polling, { kind: 'stolen', updates: 1 })), 'conflict: somebody else took updates'],
    [seen(after(...polling, { kind: 'webhook-of-worker', url: 'u' })), 'gap: the worker has set a webhook'],
  ] as const)
    assert.equal(what, is);
});

test('what was said of a rival that is over is not said of the next one', () => {
  const overlap: StatusEvent = { kind: 'overlap', overlap: { sinceMs: 0, kicks: 1, isRival: true } };
  const hintAfter = (...events: StatusEvent[]) => {
    const record = events.reduce((old, event) => noted(old, event, { atMs: 1, at: '' }), FRESH);
    return statusDocument(record, {}, [], 1).problems.find(({ code }) => code === 'rival')?.hint;
  };
  const found: StatusEvent = { kind: 'rival', rival: { elsewhere: 'nobody here', hint: 'revoke it' } };
  assert.equal(hintAfter(overlap, found), 'revoke it');
  assert.equal(hintAfter(found, overlap, overlap), 'revoke it', 'found at the first 409 already');
  assert.equal(hintAfter(overlap, found, { kind: 'overlap', overlap: null }, overlap), hintAfter(overlap));
  const here: StatusEvent = { kind: 'rival', rival: { here: 'pid 7', hint: 'kill 7' } };
  assert.equal(hintAfter(overlap, here, { kind: 'overlap', overlap: null }, overlap), 'kill 7');
});

test('what is waited for, with the time that is left', () => {
  const decision = { what: 'take', at: new Date(T0 + 9_000).toISOString() } as const;
  const sources = leaseSource({ ...sampleLease, mine: false, decision });
  const words = (phase: State['phase'], more: Partial<State> = {}, sinceMs = 4_000) => {
    const state = { ...initial, phase, ...more };
    return waitWords({ ...FRESH, state, stepMs: 100 }, sources, 15_000, 100 + sinceMs, T0);
  };
  assert.equal(words('backoff', { next: 'wait', delayMs: 30_000 }), 'the next worker is started in 26 s');
  assert.equal(words('backoff', { next: 'probe' }), 'waiting until the Bot API answers, for 4 s so far');
  assert.equal(words('stopping'), 'waiting for the worker to end; SIGKILL in 11 s');
  assert.equal(words('stopping', {}, 16_000), 'waiting for the worker to be gone, for 16 s so far');
  assert.match(words('standby') ?? '', /^standing by: box-a:4711 may poll, .* 9 s/);
  assert.match(words('starting', { pid: 7 }) ?? '', /the worker's first poll, for 4 s so far$/);
  assert.deepEqual([words('starting', { pid: 7 }, 500), words('polling', { pid: 7 })], [null, null]);
});

describe('as it is shown', () => {
  const it = polled().is('p480m');
  it.is('g14m', { cause: 'no supervisor ran: killed <b>' }).is('p180m o5m p90m');
  const day = summarise(it.history(), DAY_MS);
  const bare = (_level: string, text: string) => text;

  test('one line at every width, told apart without colour; in colour how bad it is', () => {
    for (const [columns, words] of [
      [29, ''],
      [48, '  19 min not polled'],
      [69, '  19 min not polled'],
      [129, '  19 min not polled'],
    ] as const) {
      const line = dayLine(day, columns, bare);
      assert.ok(line.length <= columns && line.endsWith(words), line);
      assert.match(line, /^·+▁+█+▁+▄+▁+/);
    }
    const coloured = dayLine(day, 60, (level, text) => `<${level}>${text}`);
    assert.match(coloured, /<error>█.*<warn> {2}19 min not polled$/);
    const quiet = summarise(polled().is('p1m').history(), DAY_MS);
    assert.match(dayLine(quiet, 60, bare), /^·+▁ {2}no gap$/);
  });

  test('the text: sums, then the spans, longest first, wrapped', () => {
    for (const columns of [40, 80, 140]) {
      const text = historyScreen('@my_bot', day, columns, bare);
      for (const line of text.split('\n')) assert.ok(line.length <= columns || columns === 40, text);
      const flat = text.replace(/\s+/g, ' ');
      assert.match(flat, /^@my_bot: the last 24 h, nobody polled for 19 min of it/);
      assert.match(flat, /▁ polled 12 h \d+ min ▄ outage 6 min █ gap 15 min · not known 11 h 10 min/);
      assert.match(flat, /14 min gap .*: no supervisor ran: killed <b> 5 min outage .*: why o $/);
    }
  });

  test('the document names each number', () => {
    const bot = sampleStatus().bot;
    const doc = JSON.parse(JSON.stringify(historyDocument(bot, day))) as Record<string, unknown>;
    const keys = 'bot, from, to, minutes, timeline, notPolledSeconds, spans';
    assert.equal(Object.keys(doc).join(', '), keys);
    assert.equal((doc.timeline as string).length, 24 * 60);
    assert.equal(doc.notPolledSeconds, 19 * 60);
    const [from, to] = [480, 494].map((minutes) => new Date(T0 + minutes * MIN).toISOString());
    const cause = 'no supervisor ran: killed <b>';
    assert.deepEqual((doc.spans as object[])[0], { state: 'gap', from, to, seconds: 840, times: 1, cause });
  });

  test('strangers read no more of a cause than its kind', () => {
    assert.deepEqual(
      discreetDay(day).spans.map(({ cause }) => cause),
      ['no supervisor ran', 'why o'],
    );
  });
});
