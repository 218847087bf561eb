/** Every cell of the supervisor's table: what an event does in a phase. Whole stories are the simulation's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BrokenInvariant,
  backoffMs,
  type Event,
  type EventKind,
  initial,
  type Phase,
  type State,
  step,
  workerCode,
} from '../../src/supervisor/table.ts';
import { POLICY, parseEvent, showStep } from '../support/table-text.ts';

/** How each phase is come to. The last question is #1 while sweeping, starting and polling, then #2, and #4 in the back-off;
 * the spawn is #1, in the back-off #2. */
const WAY: Readonly<Record<Phase, readonly string[]>> = {
  standby: ['booted'],
  sweeping: ['booted'],
  starting: ['booted', 'swept', 'spawned 501'],
  polling: ['booted', 'swept', 'spawned 501', 'polled'],
  stopping: ['booted', 'swept', 'spawned 501', 'polled', 'ask-restart SIGHUP'],
  backoff: ['booted', 'swept', 'spawned 501', 'exited 1', 'swept', 'spawned 502', 'exited 1', 'swept'],
  exited: ['booted', 'ask-stop SIGTERM', 'tree-stopped'],
};

/** Only with a lease anybody stands by. */
const policyOf = (phase: Phase) => (phase === 'standby' ? { ...POLICY, lease: true } : POLICY);

function after(events: readonly string[], policy = POLICY): State {
  return events.reduce(
    (state, text, index) => step(state, parseEvent(index, text, state), policy)[0],
    initial,
  );
}

/** What the event does there: effects in order, then the phase. */
function done(state: State, text: string, policy = POLICY): string[] {
  return showStep(...step(state, parseEvent(1_000, text, state), policy));
}

const PHASES = ['standby', 'sweeping', 'starting', 'polling', 'stopping', 'backoff', 'exited'] as const;

/** `.` nothing, `!` a bug, else a name of RESULTS. Columns as in PHASES. */
const CELLS: Readonly<Record<string, string>> = {
  booted: '! sweepFirst ! ! ! ! .',
  leased: 'sweepFirst ! ! ! ! ! .',
  'unleased lost': '. yield yield yield yieldInstead yield .',
  swept: '. spawn . . . . .',
  'spawned 501': '! ! watch ! . ! .',
  polled: '. . polls . . . .',
  'exited 1': '. . again again . ! .',
  'probed out': '! ! ! ! ! atOnce .',
  'tree-stopped': '! ! ! ! sweep ! .',
  'ask-stop SIGTERM': 'stop stop stop stop stopInstead stop .',
  'ask-restart SIGHUP': '. . replace replace . sweep .',
  'ask-handover to 7': 'release hand hand hand handInstead hand .',
  'blocked 77 token refused': 'refuse refuse refuse refuse . refuse .',
  'good-due': '. . runs . . . .',
  'backoff-due': '. . . . . sweep .',
};

const SWEEP = ['sweep #next', '→ sweeping'];
const AT_ONCE = ['say [worker] starting it again at once', ...SWEEP];
const stops = (tag: string, why: string) => [`say [${tag}] ${why}`, 'stop-tree #next', '→ stopping'];

const RESULTS: Readonly<Record<string, readonly string[]>> = {
  sweepFirst: ['sweep #next, the first', '→ sweeping'],
  sweep: SWEEP,
  spawn: ['spawn #1', '→ starting'],
  watch: ['good-timer #1 at 6000', '→ starting'],
  polls: ['say [poll] worker 501 polls', '→ polling'],
  runs: ['→ polling'],
  again: ['say [worker] pid 501 ended with code 1', ...AT_ONCE],
  atOnce: AT_ONCE,
  stop: stops('stop', 'stopping: SIGTERM'),
  stopInstead: ['say [stop] stopping: SIGTERM', '→ stopping'],
  refuse: stops('stop', 'stopping: token refused'),
  replace: stops('worker', 'replacing the worker: SIGHUP'),
  release: ['release', 'seek #next', '→ standby'],
  hand: stops('lock', 'stopping the worker: to 7'),
  handInstead: ['say [lock] stopping the worker: to 7', '→ stopping'],
  yield: stops('lease', 'stopping the worker: lost'),
  yieldInstead: ['say [lease] stopping the worker: lost', '→ stopping'],
};

for (const phase of PHASES)
  test(`${phase}: what each event does`, () => {
    const state = after(WAY[phase], policyOf(phase));
    assert.equal(state.phase, phase, 'the way leads there');
    for (const [event, row] of Object.entries(CELLS)) {
      const cell = row.split(' ')[PHASES.indexOf(phase)] ?? '';
      if (cell === '!') assert.throws(() => done(state, event), BrokenInvariant, event);
      else {
        const lines = done(state, event).map((line) => line.replace(`#${state.question + 1}`, '#next'));
        const wanted = cell === '.' ? [`→ ${phase}`] : (RESULTS[cell] ?? assert.fail(cell));
        assert.deepEqual(lines, wanted, event);
      }
    }
  });

test('the cells above are the whole table', () => {
  const kinds: Readonly<Record<EventKind, true>> = {
    ...{ booted: true, leased: true, unleased: true, swept: true, probed: true, spawned: true, polled: true },
    ...{
      'worker-exited': true,
      'tree-stopped': true,
      'ask-stop': true,
      'ask-restart': true,
      'ask-handover': true,
      blocked: true,
    },
    ...{ 'good-due': true, 'backoff-due': true },
  };
  const seen = Object.keys(CELLS).map((event) => parseEvent(0, event, initial).kind);
  assert.deepEqual(seen.sort(), Object.keys(kinds).sort());
});

test('an answer to a question that is closed does nothing, wherever it arrives', () => {
  for (const phase of Object.keys(WAY) as Phase[]) {
    const state = after(WAY[phase], policyOf(phase));
    for (const text of [
      'leased #99',
      'swept #99',
      'probed #99',
      'swept #99 75 late',
      'tree-stopped #99',
      'backoff-due #99',
    ])
      assert.deepEqual(step(state, parseEvent(1_000, text, state), POLICY), [state, []]);
    for (const text of ['spawned #99 7', 'exited #99 1', 'good-due #99']) {
      assert.deepEqual(step(state, parseEvent(1_000, text, state), POLICY), [state, []]);
    }
  }
});

test('sweeping × swept: with a back-off due it waits first', () => {
  const sweeping = WAY.backoff.slice(0, -1);
  assert.deepEqual(done(after(sweeping), 'swept'), ['backoff-timer #4 at 2000', '→ backoff']);
  const asked = after([...sweeping, 'ask-restart SIGHUP']);
  assert.deepEqual(done(asked, 'swept'), ['spawn #3', '→ starting']);
});

test('sweeping × worker-exited: with a pid it would be a second worker, and a bug', () => {
  assert.throws(() => done({ ...after(['booted']), pid: 501 }, 'exited 1'), BrokenInvariant);
});

test('starting × good-due: where polls are expected, a worker that only lives is good and does not poll', () => {
  const policy = { ...POLICY, readyWhenGood: false };
  const state = after(WAY.starting, policy);
  const [next] = step(state, parseEvent(6_000, 'good-due', state), policy);
  assert.deepEqual([next.phase, next.good], ['starting', true]);
  assert.equal(step(next, parseEvent(6_001, 'polled', next), policy)[0].phase, 'polling');
});

test('starting × polled: before the pid is known nobody can have polled', () => {
  assert.deepEqual(done(after(['booted', 'swept']), 'polled'), ['→ starting']);
});

test('stopping × blocked: the first reason to end stands', () => {
  const state = after([...WAY.polling, 'ask-stop SIGINT', 'blocked 77 token refused']);
  assert.deepEqual(done(state, 'tree-stopped'), ['exit 0: SIGINT', '→ exited']);
});

test('after a stop was asked nothing is spawned, whatever follows', () => {
  const kinds = Object.keys(CELLS).filter((event) => event !== 'booted');
  for (const way of Object.values(WAY)) {
    let states = [after([...way, 'ask-stop SIGTERM'])];
    for (let depth = 0; depth < 3; depth++) {
      states = states.flatMap((state) =>
        kinds.flatMap((text) => {
          const event: Event = parseEvent(1_000, text, state);
          try {
            const [next, effects] = step(state, event, POLICY);
            assert.ok(!effects.some((effect) => effect.do === 'spawn'), `${state.phase}, ${text}`);
            return next === state ? [] : [next];
          } catch (error) {
            if (error instanceof BrokenInvariant) return [];
            throw error;
          }
        }),
      );
    }
  }
});

test('--restart: on-failure and never leave a worker ended, but exit 0 on a conflict is no success', () => {
  const state = after(WAY.polling);
  const left = (text: string, restart: 'on-failure' | 'never') =>
    done(state, text, { ...POLICY, restart }).includes('stop-tree #2');
  assert.equal(left('exited 0', 'on-failure'), true);
  assert.equal(left('exited 1', 'on-failure'), false);
  assert.equal(left('exited SIGKILL', 'on-failure'), false);
  assert.equal(left('exited 0 conflict', 'on-failure'), false);
  assert.equal(left('exited 1', 'never'), true);
});

test('the first unplanned exit in five minutes is answered at once, whatever the run was; the second in a row waits', () => {
  const exitAt = (state: State, atMs: number) => {
    const swept = ['swept', 'spawned 502'].reduce(
      (it, text) => step(it, parseEvent(atMs - 1, text, it), POLICY)[0],
      state,
    );
    return step(swept, parseEvent(atMs, 'exited 1', swept), POLICY)[0];
  };
  const first = after(['booted', 'swept', 'spawned 501', 'exited 1 conflict']);
  assert.equal(first.delayMs, 0);
  assert.equal(exitAt(first, 100_000).delayMs, 1_000);
  assert.equal(exitAt(first, 300_003).delayMs, 1_000);
  assert.equal(exitAt(first, 300_004).delayMs, 0);
  const leased = { ...first, phase: 'standby' as const };
  assert.equal(step(leased, parseEvent(5, 'leased', leased), POLICY)[0].unplannedAtMs, null);
});

test('an exit while the Bot API is in doubt: it is asked once the leftovers are gone', () => {
  const policy = { ...POLICY, maxRestarts: 1 };
  const early = ['booted', 'swept', 'spawned 501', 'exited 1', 'swept', 'spawned 502'];
  const doubtful = after([...early, 'exited 3 in-doubt'], policy);
  assert.equal(doubtful.phase, 'sweeping');
  const asked = after([...early, 'exited 3 in-doubt', 'swept'], policy);
  assert.deepEqual([asked.phase, asked.exitsAtMs.length], ['backoff', 1]);
  assert.deepEqual(done(doubtful, 'swept', policy), ['probe #4', '→ backoff']);
  // Out of reach: the exit does not count, however many there were.
  assert.deepEqual(done(asked, 'probed out', policy), [
    'say [worker] starting it again at once',
    'sweep #5',
    '→ sweeping',
  ]);
  const [next] = step(asked, parseEvent(9, 'probed out', asked), policy);
  assert.deepEqual([next.exitsAtMs.length, next.failures, next.delayMs], [1, 0, 0]);
  // It answers at once: the exit was the worker's own affair.
  assert.deepEqual(done(asked, 'probed', policy), [
    'say [worker] crash loop: 2 exits within 5 min; giving up. Its last lines:',
    'stop-tree #5',
    '→ stopping',
  ]);
  assert.deepEqual(done(asked, 'probed'), [
    'say [worker] starting it again in 1 s (2 exits in a row)',
    'sweep #5',
    '→ sweeping',
  ]);
  // A 409 is an answer, and --restart decides before anybody is asked.
  const state = after(early);
  assert.ok(done(state, 'exited 3 conflict in-doubt').includes('sweep #3'));
  assert.equal(after([...early, 'exited 3 conflict in-doubt']).next, 'wait');
  assert.ok(done(state, 'exited 3 in-doubt', { ...POLICY, restart: 'never' }).includes('stop-tree #3'));
  assert.deepEqual(done(asked, 'ask-restart SIGHUP'), ['sweep #5', '→ sweeping']);
});

test('back-off: none after the first exit of a row, then MIN, doubling, ±20 %, never above MAX', () => {
  assert.equal(backoffMs(0, 0.5, POLICY), 0);
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 60, 6_000].map((failures) => backoffMs(failures, 0.5, POLICY)),
    [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000],
  );
  assert.equal(backoffMs(1, 0, POLICY), 800);
  assert.equal(backoffMs(1, 1, POLICY), 1_200);
  assert.equal(backoffMs(6, 1, POLICY), 30_000);
});

test("the worker's code: its own, 128 + signal, 1 where neither is known", () => {
  assert.equal(workerCode({ code: 3, signal: null }), 3);
  assert.equal(workerCode({ code: null, signal: 'SIGKILL' }), 137);
  assert.equal(workerCode({ code: null, signal: 'SIGTERM' }), 143);
  assert.equal(workerCode({ code: null, signal: null }), 1);
});
