/** Every cell of the supervisor's table: what an event does in a phase. Whole stories are in transcripts.test.ts. */
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

type Row = readonly [phase: Phase, event: string, does: string, lines: readonly string[] | 'a bug'];

const nothing = (phase: Phase): string[] => [`→ ${phase}`];
const stopping = ['say [stop] stopping: SIGTERM', 'stop-tree #2', '→ stopping'];
const refused = ['say [stop] stopping: token refused', 'stop-tree #2', '→ stopping'];
const replacing = ['say [worker] replacing the worker: SIGHUP', 'stop-tree #2', '→ stopping'];

const yielding = ['say [lease] stopping the worker: lost', 'stop-tree #2', '→ stopping'];

const ROWS: readonly Row[] = [
  ['standby', 'booted', 'it has booted long ago', 'a bug'],
  ['standby', 'leased', 'this machine may poll: looks for strays', ['sweep #2, the first', '→ sweeping']],
  ['standby', 'unleased lost', 'there is no term any more, nothing', nothing('standby')],
  ['standby', 'swept', 'a late answer, nothing', nothing('standby')],
  ['standby', 'spawned 501', 'nobody was to be spawned', 'a bug'],
  ['standby', 'polled', 'a late sign of the last worker, nothing', nothing('standby')],
  ['standby', 'exited 127', 'a late report of a failed start decides nothing', nothing('standby')],
  ['standby', 'probed out', 'nobody has asked', 'a bug'],
  ['standby', 'tree-stopped', 'no tree is being stopped', 'a bug'],
  ['standby', 'ask-stop SIGTERM', 'heads for exit', stopping],
  ['standby', 'ask-restart SIGHUP', 'there is nothing to restart', nothing('standby')],
  ['standby', 'blocked 77 token refused', 'heads for exit', refused],
  ['standby', 'good-due', 'the timer of a run that has ended, nothing', nothing('standby')],
  ['standby', 'backoff-due', 'the timer of a wait that is over, nothing', nothing('standby')],

  ['sweeping', 'leased', 'nobody waits for it', 'a bug'],
  ['sweeping', 'unleased lost', 'stops what the last worker left, heads for standby', yielding],
  ['starting', 'leased', 'nobody waits for it', 'a bug'],
  ['starting', 'unleased lost', 'stops the tree, heads for standby', yielding],
  ['polling', 'leased', 'nobody waits for it', 'a bug'],
  ['polling', 'unleased lost', 'stops the tree, heads for standby', yielding],
  ['stopping', 'leased', 'nobody waits for it', 'a bug'],
  [
    'stopping',
    'unleased lost',
    'heads for standby instead',
    ['say [lease] stopping the worker: lost', '→ stopping'],
  ],
  ['backoff', 'leased', 'nobody waits for it', 'a bug'],
  [
    'backoff',
    'unleased lost',
    'stops what the last worker left, heads for standby',
    ['say [lease] stopping the worker: lost', 'stop-tree #5', '→ stopping'],
  ],
  ['sweeping', 'booted', 'looks for strays, again if need be', ['sweep #2, the first', '→ sweeping']],
  ['sweeping', 'swept', 'the way is free: spawns', ['spawn #1', '→ starting']],
  ['sweeping', 'spawned 501', 'there is nobody to be spawned', 'a bug'],
  ['sweeping', 'polled', 'a late sign of the last worker, nothing', nothing('sweeping')],
  ['sweeping', 'exited 127', 'a late report of a failed start decides nothing', nothing('sweeping')],
  ['sweeping', 'probed out', 'nobody has asked', 'a bug'],
  ['sweeping', 'tree-stopped', 'no tree is being stopped', 'a bug'],
  ['sweeping', 'ask-stop SIGTERM', 'stops what the last worker left, heads for exit', stopping],
  ['sweeping', 'ask-restart SIGHUP', 'no back-off after this sweep', nothing('sweeping')],
  ['sweeping', 'blocked 77 token refused', 'stops what the last worker left, heads for exit', refused],
  ['sweeping', 'good-due', 'the timer of a run that has ended, nothing', nothing('sweeping')],
  ['sweeping', 'backoff-due', 'the timer of a wait that is over, nothing', nothing('sweeping')],

  ['starting', 'booted', 'it has booted long ago', 'a bug'],
  ['starting', 'swept', 'a second answer, nothing', nothing('starting')],
  [
    'starting',
    'spawned 501',
    'a worker lives: from now on it may prove good',
    ['good-timer #1 at 6000', '→ starting'],
  ],
  ['starting', 'polled', 'the run is good', ['say [poll] worker 501 polls', '→ polling']],
  [
    'starting',
    'exited 1',
    'looks for strays, then starts the next at once: it is the first exit in a while',
    [
      'say [worker] pid 501 ended with code 1',
      'say [worker] starting it again at once',
      'sweep #2',
      '→ sweeping',
    ],
  ],
  ['starting', 'probed out', 'nobody has asked', 'a bug'],
  ['starting', 'tree-stopped', 'no tree is being stopped', 'a bug'],
  ['starting', 'ask-stop SIGTERM', 'stops the tree, heads for exit', stopping],
  ['starting', 'ask-restart SIGHUP', 'stops the tree, heads for the next spawn', replacing],
  ['starting', 'blocked 77 token refused', 'stops the tree, heads for exit', refused],
  ['starting', 'good-due', 'has lived long enough to be good', nothing('polling')],
  ['starting', 'backoff-due', 'the timer of a wait that was cut short, nothing', nothing('starting')],

  ['polling', 'booted', 'it has booted long ago', 'a bug'],
  ['polling', 'swept', 'a second answer, nothing', nothing('polling')],
  ['polling', 'spawned 502', 'one worker lives already', 'a bug'],
  ['polling', 'polled', 'nothing new', nothing('polling')],
  [
    'polling',
    'exited SIGKILL',
    'looks for strays, then starts the next at once',
    [
      'say [worker] pid 501 ended by SIGKILL',
      'say [worker] starting it again at once',
      'sweep #2',
      '→ sweeping',
    ],
  ],
  ['polling', 'probed out', 'nobody has asked', 'a bug'],
  ['polling', 'tree-stopped', 'no tree is being stopped', 'a bug'],
  ['polling', 'ask-stop SIGTERM', 'stops the tree, heads for exit', stopping],
  ['polling', 'ask-restart SIGHUP', 'stops the tree, heads for the next spawn', replacing],
  ['polling', 'blocked 77 token refused', 'stops the tree, heads for exit', refused],
  ['polling', 'good-due', 'it is known to be good, nothing', nothing('polling')],
  ['polling', 'backoff-due', 'the timer of a wait that was cut short, nothing', nothing('polling')],

  ['stopping', 'booted', 'it has booted long ago', 'a bug'],
  ['stopping', 'swept', 'a late answer, nothing', nothing('stopping')],
  ['stopping', 'spawned 501', 'its pid comes late; it goes with the tree', nothing('stopping')],
  ['stopping', 'polled', 'its last poll, nothing', nothing('stopping')],
  ['stopping', 'exited SIGTERM', 'the leader has gone, the tree is waited for', nothing('stopping')],
  ['stopping', 'probed out', 'nobody has asked', 'a bug'],
  [
    'stopping',
    'tree-stopped',
    'all gone: looks for strays before the next spawn',
    ['sweep #3', '→ sweeping'],
  ],
  ['stopping', 'ask-stop SIGTERM', 'heads for exit instead', ['say [stop] stopping: SIGTERM', '→ stopping']],
  ['stopping', 'ask-restart SIGHUP', 'is on its way already', nothing('stopping')],
  ['stopping', 'blocked 77 token refused', 'heads for exit instead', nothing('stopping')],
  ['stopping', 'good-due', 'too late to be good', nothing('stopping')],
  ['stopping', 'backoff-due', 'the timer of a wait that was cut short, nothing', nothing('stopping')],

  ['backoff', 'booted', 'it has booted long ago', 'a bug'],
  ['backoff', 'swept', 'a second answer, nothing', nothing('backoff')],
  ['backoff', 'spawned 503', 'there is nobody to be spawned', 'a bug'],
  ['backoff', 'polled', 'a late sign of the last worker, nothing', nothing('backoff')],
  ['backoff', 'exited 1', 'there is nobody to end', 'a bug'],
  [
    'backoff',
    'probed out',
    'the Bot API answers again: looks for strays once more',
    ['say [worker] starting it again at once', 'sweep #5', '→ sweeping'],
  ],
  ['backoff', 'tree-stopped', 'no tree is being stopped', 'a bug'],
  [
    'backoff',
    'ask-stop SIGTERM',
    'stops what the last worker left, heads for exit',
    ['say [stop] stopping: SIGTERM', 'stop-tree #5', '→ stopping'],
  ],
  ['backoff', 'ask-restart SIGHUP', 'no more waiting', ['sweep #5', '→ sweeping']],
  [
    'backoff',
    'blocked 77 token refused',
    'stops what the last worker left, heads for exit',
    ['say [stop] stopping: token refused', 'stop-tree #5', '→ stopping'],
  ],
  ['backoff', 'good-due', 'the timer of a run that has ended, nothing', nothing('backoff')],
  ['backoff', 'backoff-due', 'looks for strays once more', ['sweep #5', '→ sweeping']],

  ...(
    [
      'booted',
      'leased',
      'unleased lost',
      'swept',
      'probed',
      'spawned 501',
      'polled',
      'exited 1',
      'tree-stopped',
      'ask-stop SIGTERM',
      'ask-restart SIGHUP',
      'blocked 77 token refused',
      'good-due',
      'backoff-due',
    ] as const
  ).map((event): Row => ['exited', event, 'nothing is done any more', nothing('exited')]),
];

for (const [phase, event, does, lines] of ROWS) {
  test(`${phase} × ${parseEvent(0, event, initial).kind}: ${does}`, () => {
    const state = after(WAY[phase], policyOf(phase));
    assert.equal(state.phase, phase, 'the way leads there');
    if (lines === 'a bug') assert.throws(() => done(state, event), BrokenInvariant);
    else assert.deepEqual(done(state, event), lines);
  });
}

test('the rows above are the whole table', () => {
  const kinds: Readonly<Record<EventKind, true>> = {
    booted: true,
    leased: true,
    unleased: true,
    swept: true,
    probed: true,
    spawned: true,
    polled: true,
    'worker-exited': true,
    'tree-stopped': true,
    'ask-stop': true,
    'ask-restart': true,
    blocked: true,
    'good-due': true,
    'backoff-due': true,
  };
  const seen = new Set(ROWS.map(([phase, event]) => `${phase} × ${parseEvent(0, event, initial).kind}`));
  for (const phase of Object.keys(WAY))
    for (const kind of Object.keys(kinds)) assert.ok(seen.has(`${phase} × ${kind}`), `${phase} × ${kind}`);
  assert.equal(ROWS.length, seen.size);
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

test('sweeping × swept: blocked at the first look ends at once, later the leftovers go first', () => {
  assert.deepEqual(done(after(['booted']), 'swept 75 a stray comes back'), [
    'exit 75: a stray comes back',
    '→ exited',
  ]);
  assert.deepEqual(
    done(after(['booted', 'swept', 'spawned 501', 'exited 1']), 'swept 75 a stray comes back'),
    ['say [stop] stopping: a stray comes back', 'stop-tree #3', '→ stopping'],
  );
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

test('stopping × ask-stop: a second ask kills', () => {
  const state = after([...WAY.polling, 'ask-stop SIGINT']);
  assert.deepEqual(done(state, 'ask-stop SIGINT'), [
    'say [stop] asked again: killing now',
    'kill-tree',
    '→ stopping',
  ]);
});

test('stopping × tree-stopped: exits with the code it headed for, with 75 where something survived', () => {
  const state = after([...WAY.polling, 'ask-stop SIGINT']);
  assert.deepEqual(done(state, 'tree-stopped'), ['exit 0: SIGINT', '→ exited']);
  assert.deepEqual(done(state, 'tree-stopped survivors=2'), [
    'say [stop] 2 processes of the worker survived SIGKILL',
    'exit 75: SIGINT (not clean)',
    '→ exited',
  ]);
  assert.deepEqual(done(after(WAY.stopping), 'tree-stopped survivors=1').slice(1), [
    'exit 75: processes of the old worker survived SIGKILL (not clean)',
    '→ exited',
  ]);
});

test('stopping × tree-stopped: on the way to standby the lease is given back, then sought again', () => {
  const lost = after([...WAY.polling, 'unleased lost']);
  assert.deepEqual(done(lost, 'tree-stopped'), ['release', 'seek #3', '→ standby']);
  assert.deepEqual(done(lost, 'tree-stopped survivors=1').slice(1), [
    'exit 75: processes of the old worker survived SIGKILL (not clean)',
    '→ exited',
  ]);
});

test('with a lease the first step is to stand by, and each term begins with a thorough look', () => {
  const policy = { ...POLICY, lease: true };
  assert.deepEqual(done(initial, 'booted', policy), ['seek #1', '→ standby']);
  const again = ['booted', 'leased', 'swept', 'spawned 501', 'exited 1', 'unleased lost', 'tree-stopped'];
  const state = after(again, policy);
  assert.equal(state.phase, 'standby');
  assert.deepEqual(done(state, 'leased', policy), ['sweep #6, the first', '→ sweeping']);
});

test('stopping × blocked: the first reason to end stands', () => {
  const state = after([...WAY.polling, 'ask-stop SIGINT', 'blocked 77 token refused']);
  assert.deepEqual(done(state, 'tree-stopped'), ['exit 0: SIGINT', '→ exited']);
});

test('after a stop was asked nothing is spawned, whatever follows', () => {
  const kinds = ROWS.map(([, event]) => event).filter((event) => event !== 'booted');
  for (const way of Object.values(WAY)) {
    let states = [after([...way, 'ask-stop SIGTERM'])];
    for (let depth = 0; depth < 3; depth++) {
      states = states.flatMap((state) =>
        [...new Set(kinds)].flatMap((text) => {
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
