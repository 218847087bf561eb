/** Rules of the lease, each broken on purpose; the simulation has to catch every one (see broken-rules.ts). */
import type { BrokenRule } from './broken-rules.ts';

const KEEPER = 'src/lease/keeper.ts';
const TIMING = 'src/lease/timing.ts';
const CLOCK = 'src/lease/clock.ts';
const EDGES = 'test/simulation/keeper-machine.ts';
const STORE = 'test/simulation/keeper-store.ts';

export const KEEPER_BROKEN_RULES: readonly BrokenRule[] = [
  // The five that the model breaks as well (test/model/lease.pml).
  {
    name: 'counts its deadline from the answer',
    seed: 179,
    file: KEEPER,
    find: 'const renewed: Held = { ...term, seen, sentAtMs: request.sentAtMs };',
    put: 'const renewed: Held = { ...term, seen, sentAtMs: atMs };',
  },
  {
    name: 'writes without comparing',
    seed: 2,
    file: STORE,
    find: "if ((current?.rev ?? null) !== prev) return { kind: 'conflict', current: show() };",
    put: '',
  },
  {
    name: 'leaves no margin before the ttl',
    seed: 26,
    file: TIMING,
    find: 'return killAfterMs(timing) - timing.graceMs;',
    put: 'return timing.ttlMs;',
  },
  {
    name: 'does not wait anew when the record has changed',
    seed: 1,
    file: KEEPER,
    find: 'sinceMs: same ? sight.sinceMs : atMs',
    put: 'sinceMs: sight ? sight.sinceMs : atMs',
  },
  {
    name: 'takes a record that has vanished at once',
    seed: 9,
    file: KEEPER,
    find: 'if (seen === null) return first ? sinceMs : Number.POSITIVE_INFINITY;',
    put: 'if (seen === null) return sinceMs;',
  },
  // Deadlines.
  {
    name: 'counts its first deadline from the answer',
    seed: 1121,
    file: KEEPER,
    find: 'sentAtMs: request.sentAtMs,\n        since:',
    put: 'sentAtMs: atMs,\n        since:',
  },
  {
    name: 'goes on after its deadline, and renews',
    seed: 2,
    file: KEEPER,
    find: "if (keeper.role !== 'leader' || context.atMs < stopAtMs(keeper, context.policy) - 1) return keeper;",
    put: 'return keeper;',
    and: {
      file: KEEPER,
      find: '&& !keeper.doubted && atMs < stopAtMs(keeper, policy)',
      put: '&& !keeper.doubted',
    },
  },
  {
    name: 'counts from its last write, although the record shows an earlier one',
    seed: 334,
    file: KEEPER,
    find: 'sentAtMs: write.sentAtMs } };',
    put: 'sentAtMs: keeper.writes.at(-1)!.sentAtMs } };',
  },
  {
    name: 'lets a request outlive the stop point',
    seed: 5,
    file: KEEPER,
    find: 'Math.min(policy.timing.requestMs, limitMs - atMs)',
    put: 'policy.timing.requestMs',
  },
  {
    name: 'stops its worker politely when another has the lease',
    seed: 47,
    file: KEEPER,
    find: "const killByMs = why === 'taken' ? atMs :",
    put: 'const killByMs =',
  },
  {
    name: 'waits only for its own ttl',
    seed: 196,
    file: TIMING,
    find: 'Math.max(timing.ttlMs, ttlMs)',
    put: 'timing.ttlMs',
  },
  // Clocks.
  {
    name: 'measures with a clock that stands still in suspend',
    seed: 7,
    file: CLOCK,
    find: 'nowMs = Math.max(nowMs, sources.monotonicMs() - monotonic0, slept);',
    put: 'nowMs = Math.max(nowMs, sources.monotonicMs() - monotonic0);',
  },
  {
    name: 'does not listen to the wall clock',
    seed: 47,
    file: CLOCK,
    find: 'leaped: aheadMs - before > LEAP_MS',
    put: 'leaped: false',
  },
  {
    name: 'takes an answer from before a leap for proof',
    seed: 189,
    file: KEEPER,
    find: 'if (request.number <= keeper.doubtUpTo) return',
    put: 'if (false as boolean) return',
  },
  {
    name: 'wins by an answer from before a leap',
    seed: 6228,
    file: KEEPER,
    find: 'request.number > keeper.doubtUpTo && atMs',
    put: 'atMs',
  },
  // One writer, one worker.
  {
    name: 'has two requests in flight',
    seed: 1,
    file: KEEPER,
    find: 'if (keeper.request !== null || atMs < keeper.notBeforeMs) return keeper;',
    put: 'if (atMs < keeper.notBeforeMs) return keeper;',
  },
  {
    name: 'frees the record before the worker is gone',
    seed: 7,
    file: 'src/core/supervisor.ts',
    find: "const unleased: Cell<'unleased'> = (state, event) => stopTree(state, { to: 'standby', reason: event.reason });",
    put: "const unleased: Cell<'unleased'> = (state, event) => { const [next, effects] = stopTree(state, { to: 'standby', reason: event.reason }); return [next, [{ do: 'release' }, ...effects]]; };",
  },
  {
    name: 'takes its own record back while its worker lives',
    seed: 5,
    file: KEEPER,
    find: "return { ...keeper, role: 'closing', doubted: false,",
    put: "return { ...keeper, role: 'standby', sight: null, doubted: false,",
  },
  {
    name: 'takes what a supervisor of another machine holds for its own',
    seed: 1,
    file: KEEPER,
    find: '(lock !== null && seen.rec.lock === lock)',
    put: '(lock !== null && seen.rec.lock !== undefined)',
  },
  {
    name: 'takes one absence for another',
    seed: 50,
    file: KEEPER,
    find: 'if (seen === null) return first ? sinceMs : Number.POSITIVE_INFINITY;',
    put: 'if (seen === null) return sinceMs + waitMs(timing, 0);',
    and: { file: KEEPER, find: "if (keeper.sight.seen === null) return 'mark';", put: '' },
  },
  {
    name: 'does not wait where a record has vanished and was marked',
    seed: 6,
    file: KEEPER,
    find: 'if (vacant !== undefined) return sinceMs + waitMs(timing, ttl);',
    put: '',
  },
  {
    name: 'thinks itself the first ever again and again',
    seed: 13,
    file: KEEPER,
    find: '    first: false,\n    seq: Math.max(',
    put: '    seq: Math.max(',
  },
  {
    name: 'frees a record that has vanished',
    seed: 392,
    file: KEEPER,
    find: 'if (keeper.term?.taken || isGone(keeper.term?.seen ?? null)) return released',
    put: 'if (keeper.term?.taken) return released',
    and: {
      file: KEEPER,
      find: 'if (current !== null && isMine(current.rec, term, context.policy))',
      put: 'if (current === null || isMine(current.rec, term, context.policy))',
    },
  },
  {
    name: 'writes a vanished record again without knowing what time it is',
    seed: 400,
    file: KEEPER,
    find: "if (keeper.doubted) return lose(keeper, 'taken', context);",
    put: '',
  },
  // Epochs.
  {
    name: 'numbers its term by the date alone',
    seed: 3,
    file: KEEPER,
    find: 'Math.max(keeper.epoch + 1, Math.floor(unixMs / 1_000))',
    put: 'Math.floor(unixMs / 1_000)',
  },
  {
    name: 'numbers its term by the record alone',
    seed: 6,
    file: KEEPER,
    find: 'Math.max(keeper.epoch + 1, Math.floor(unixMs / 1_000))',
    put: '(keeper.epoch + 1)',
  },
  // The door (the gateway's part).
  {
    name: 'lets polls pass without asking',
    seed: 2,
    file: EDGES,
    find: 'if (!valid()) {\n        again(',
    put: 'if (false as boolean) {\n        again(',
  },
  {
    name: 'hands answers on without asking',
    seed: 3,
    file: EDGES,
    find: 'else if (valid()) judge.handed(machine);',
    put: 'else if (true as boolean) judge.handed(machine);',
  },
  // Always somebody, soon, and without wearing the engine out.
  {
    name: 'does not hear that the record has changed',
    seed: 5,
    file: KEEPER,
    find: 'return isEcho(keeper, context) ? keeper : { ...keeper, hinted: true };',
    put: 'return keeper;',
  },
  {
    name: 'believes every hint',
    seed: 12,
    file: KEEPER,
    find: 'if (keeper.hinted && creditOf(keeper, atMs, policy) >= 1)',
    put: 'if (keeper.hinted)',
  },
  {
    name: 'asks an engine that is away again and again',
    seed: 6,
    file: KEEPER,
    find: 'notBeforeMs: Math.max(atMs, request.sentAtMs + pauseMs),',
    put: 'notBeforeMs: atMs,',
  },
  {
    name: 'does not free the record when it ends',
    seed: 1,
    file: KEEPER,
    find: "return uncertain ? 'read' : 'free';",
    put: 'return null;',
  },
  {
    name: 'gives up its term when somebody asks for a hand-over',
    seed: 3,
    file: KEEPER,
    find: 'if (!isMine(current.rec, term, policy) || !write)',
    put: 'if (!isMine(current.rec, term, policy) || !write || current.rec.wants)',
  },
  {
    name: 'forgets who asked for the hand-over',
    seed: 13,
    file: KEEPER,
    find: "return { v: 1, holder: '', epoch, seq, ttl: timing.ttlMs, ...(wants !== undefined && { wants }) };",
    put: "return { v: 1, holder: '', epoch, seq, ttl: timing.ttlMs };",
  },
  {
    name: 'takes what was left for another',
    seed: 13,
    file: KEEPER,
    find: "if (holder === '') return wants === undefined || wants === id ?",
    put: "if (holder === '') return true ?",
  },
  {
    name: 'stops when the record has vanished',
    seed: 7,
    file: KEEPER,
    find: "effects.push({ do: 'say', saying: { what: 'vanished' } });",
    put: "return lose(keeper, 'deadline', context);",
  },
  {
    name: 'takes its own write whose answer was lost for that of another',
    seed: 44,
    file: KEEPER,
    find: 'if (!isMine(current.rec, term, policy) || !write)',
    put: 'if (current.rec.seq !== term.seen?.rec.seq || !write)',
  },
];
