/**
 * Rules of the supervisor, each broken on purpose by changing its source text. The simulation has to catch every one: what it
 * does not catch it does not check. Several are bugs that it found; they stay here as their regression tests.
 * `find` stands in the file exactly once, so that a rule that was rewritten is noticed.
 */

interface Break {
  readonly file: string;
  readonly find: string;
  readonly put: string;
}

export interface BrokenRule extends Break {
  /** What the broken program does. */
  readonly name: string;
  /** A seed that catches it, tried first; when it does no more, the others are searched. */
  readonly seed: number;
  /** The second of two rules that stand in for each other. */
  readonly and?: Break;
}

const TABLE = 'src/core/supervisor.ts';
const LOOP = 'src/supervise/loop.ts';
const CLEARANCE = 'src/core/clearance.ts';
const COMEBACK = 'src/core/comeback.ts';
const LADDER = 'src/core/ladder.ts';
const GRADE = 'src/strays/grade.ts';
const TREE = 'src/strays/tree.ts';
const FAMILY = 'src/strays/family.ts';
const SWEEP = 'src/supervise/sweep.ts';
const EVIDENCE = 'src/strays/evidence.ts';
const REACTIONS = 'src/strays/reactions.ts';
const STOP = 'src/strays/stop.ts';
const WORKER_TREE = 'src/machine/worker-tree.ts';
const EDGES = 'test/simulation/supervisor.ts';

export const BROKEN_RULES: readonly BrokenRule[] = [
  // Never a worker beside another poller.
  {
    name: 'spawns before the sweep has answered',
    seed: 1,
    file: LOOP,
    find: "edges.sweep(effect.first, asking.signal, (blocked) => send({ kind: 'swept', question, blocked }));",
    put: "edges.sweep(effect.first, asking.signal, () => {}); send({ kind: 'swept', question, blocked: null });",
  },
  {
    name: 'accepts answers to questions that are closed',
    seed: 8,
    file: TABLE,
    find: 'return event.question !== state.question;',
    put: 'return false;',
    and: { file: LOOP, find: 'timers.get(name)?.();', put: '' },
  },
  {
    name: 'accepts what earlier spawns report',
    seed: 226,
    file: TABLE,
    find: 'return event.spawn !== state.spawn;',
    put: 'return false;',
  },
  {
    name: 'does not look again after the back-off',
    seed: 21,
    file: TABLE,
    find: "'backoff-due': (state) => sweep(state, 'spawn', 0),",
    put: "'backoff-due': (state) => spawn(state),",
  },
  {
    name: 'starts the next worker while the old one is being stopped',
    seed: 5,
    file: TABLE,
    find: "'ask-restart': ignore,\n    blocked: (state, event) =>",
    put: "'ask-restart': (state) => sweep(state, 'spawn', 0),\n    blocked: (state, event) =>",
  },
  {
    name: 'answers a tree stop before the end of its leader was heard',
    seed: 5,
    file: EDGES,
    find: 'if (present && result.survivors.length === 0) await present.gone;',
    put: '',
  },
  {
    name: 'calls a sweep done after its first round',
    seed: 90,
    file: SWEEP,
    find: 'current = await look(abandoned);\n    }',
    put: 'return null;\n    }',
  },
  {
    name: 'stops strays while it stops others',
    seed: 246,
    file: SWEEP,
    find: 'const mine = clearing.then(act);',
    put: 'const mine = act();',
  },
  {
    name: 'does not look for own leftovers before a later worker',
    seed: 34,
    file: SWEEP,
    find: 'if (!survey.strays.some(isOwn)) return null;',
    put: 'return null;',
  },
  {
    name: 'lets a respawn wait until strays are gone',
    seed: 150,
    file: SWEEP,
    find: 'if (!survey.strays.some(isOwn)) return null;\n      return inTurn(async () => await clear(survey, abandoned, isOwn));',
    put: 'return inTurn(async () => await clear(survey, abandoned));',
  },
  {
    name: 'stops whoever it likes beside a new worker, without a 409',
    seed: 30,
    file: SWEEP,
    find: 'await inTurn(async () => await clear(await look(abandoned), abandoned, isOwn));',
    put: 'await inTurn(async () => await clear(await look(abandoned), abandoned));',
  },
  {
    name: 'does not look for what an earlier worker has left somewhere else',
    seed: 2316,
    file: SWEEP,
    find: 'await inTurn(async () => await clear(await look(abandoned), abandoned, isOwn));',
    put: '',
  },
  {
    name: 'does not ask again after a stop',
    seed: 1,
    file: SWEEP,
    find: 'if (ending) return { ending, disturbed };\n        continue;',
    put: 'return { ending, disturbed };',
  },
  {
    name: 'does not act on the last look before the first worker',
    seed: 121,
    file: SWEEP,
    find: 'if (dryRun || !last.strays.some(isInTheWay)) {',
    put: 'if (true as boolean) {',
  },
  {
    name: 'asks nobody before the first worker',
    seed: 422,
    file: SWEEP,
    find: "if (outcome.kind === 'convicted') {",
    put: 'if (false as boolean) {',
  },
  {
    name: 'goes on with a sweep that nobody wants any more',
    seed: 237,
    file: SWEEP,
    find: 'signal: AbortSignal.any([signal, abandoned]),\n    };',
    put: 'signal,\n    };',
  },
  {
    name: 'lets one stray that it can’t stop shield all others',
    seed: 160,
    file: SWEEP,
    find: "const strays = verdict.kind === 'stop' ? verdict.strays : goesOn ? verdict.others : [];",
    put: "const strays = verdict.kind === 'stop' ? verdict.strays : [];",
  },
  {
    name: 'names one of several strays that it can’t stop',
    seed: 67,
    file: SWEEP,
    find: 'for (const ending of goesOn ? verdict.endings : [verdict.ending])',
    put: 'for (const ending of [verdict.ending])',
  },
  {
    name: 'forgets whom it asked to end when a stop is given up',
    seed: 8716,
    file: SWEEP,
    find: 'isGivenUp || result.gone.includes(stray)',
    put: '!isGivenUp && result.gone.includes(stray)',
  },
  {
    name: 'takes a copy that nothing spoke against yet for a comeback',
    seed: 456,
    file: SWEEP,
    find: '[...seen.strays, ...copies]',
    put: 'seen.strays',
  },
  {
    name: 'counts one life twice when it had to be stopped twice',
    seed: 12778,
    file: CLEARANCE,
    find: 'before.filter((it) => !again(it))',
    put: 'before',
  },
  {
    name: 'matches pids with reactions before the processes are listed',
    seed: 549,
    file: SWEEP,
    find: 'get evidence() {\n        return prover?.evidence() ?? NO_EVIDENCE;\n      },',
    put: 'evidence: prover?.evidence() ?? NO_EVIDENCE,',
  },
  {
    name: 'matches pids with the worker before the processes are listed',
    seed: 1736,
    file: SWEEP,
    find: 'get worker() {\n        return options.worker();\n      },',
    put: 'worker: options.worker(),',
  },
  {
    name: 'goes on where strays survived',
    seed: 2401,
    file: SWEEP,
    find: 'if (result.survivors.length > 0) {',
    put: 'if (false) {',
  },
  {
    name: 'does not look for what a dead group has left behind',
    seed: 543,
    file: TREE,
    find: 'const leaders = new Set(formerPids);',
    put: 'const leaders = new Set<number>();',
  },
  {
    name: 'stops a stray from its own process instead of the top of its tree',
    seed: 13,
    file: TREE,
    find: 'if (!runsOnly(parent, top, below, around)) return top;',
    put: 'return top;',
  },
  // Never a signal without proof.
  {
    name: 'stops those that are only likely',
    seed: 1,
    file: CLEARANCE,
    find: "({ grade }) => grade === 'own' ||",
    put: "({ grade }) => grade === 'likely' || grade === 'own' ||",
  },
  {
    name: 'takes the token alone for proof',
    seed: 1,
    file: GRADE,
    find: "const polls = reaction === 'twice'",
    put: "const polls = holds || reaction === 'twice'",
  },
  {
    name: 'takes one reaction for proof where no token is seen',
    seed: 9,
    file: GRADE,
    find: "const polls = reaction === 'twice' || (reaction === 'once' && holds && others.length === 0);",
    put: 'const polls = reaction !== undefined;',
  },
  {
    name: 'takes whoever starts pollers for one',
    seed: 10,
    file: GRADE,
    find: 'isScript || !facts.byChildren?.has(proc.pid) ? seen : undefined',
    put: 'seen',
  },
  {
    name: 'takes the reaction of a process for that of the next with its pid',
    seed: 10,
    file: EVIDENCE,
    find: 'for (const account of accounts.values()) if (isAlive(account.owner)) put(account);',
    put: 'for (const account of accounts.values()) put(account);',
  },
  {
    name: 'takes every answer for a 409',
    seed: 3,
    file: REACTIONS,
    find: "return answers.some(({ reaction }) => reaction.isConflict && !reaction.isUnclear) ? 'once' : null;",
    put: "return reactions.length > 0 ? 'once' : null;",
  },
  {
    name: 'takes any two answers for those of a poller',
    seed: 2,
    file: REACTIONS,
    find: 'return a === null || b === null ? a === b : Math.abs(a - b) <= AGREE_BYTES;',
    put: 'return true;',
  },
  {
    name: 'takes a connection for a poll',
    seed: 3,
    file: GRADE,
    find: "const polls = reaction === 'twice'",
    put: "const polls = (holds && facts.connected.has(proc.pid)) || reaction === 'twice'",
  },
  {
    name: "takes another bot's worker for its own",
    seed: 1,
    file: GRADE,
    find: 'if (carried === facts.botId || isLeft) {',
    put: 'if (carried !== null || isLeft) {',
  },
  {
    name: 'takes a pattern out of scope for proof',
    seed: 1,
    file: GRADE,
    find: 'if (inScope === false) doubts',
    put: 'if (false as boolean) doubts',
  },
  {
    name: 'stops editors and shells that hold the token',
    seed: 4,
    file: GRADE,
    find: 'const kind = bystander(readProgram(proc.argv, proc.comm), proc.comm);',
    put: 'const kind = null as ReturnType<typeof bystander>;',
  },
  {
    name: 'takes the present worker for a stray',
    seed: 5,
    file: FAMILY,
    find: 'const { worker } = place;',
    put: 'const worker = null as typeof place.worker;',
  },
  {
    name: 'does not compare the start time right before a signal',
    seed: 31,
    file: STOP,
    find: "if (!look || look.startId !== startId) return 'gone';",
    put: "if (!look) return 'gone';",
  },
  {
    name: 'waits for a pid that somebody else has by now',
    seed: 7,
    file: LADDER,
    find: "look !== undefined && look.startId === target.startId && look.state !== 'Z'",
    put: "look !== undefined && look.state !== 'Z'",
  },
  {
    name: "names the worker's leader by its pid alone",
    seed: 40,
    file: WORKER_TREE,
    find: '{ timeoutMs: DETAILS_MS }), null, listed);',
    put: '{ timeoutMs: DETAILS_MS }), leader, listed);',
  },
  {
    name: 'goes on with a sweep after the end',
    seed: 8,
    file: LOOP,
    find: "asking.abort();\n    if (state.phase !== 'exited')",
    put: "if (state.phase !== 'exited')",
    and: { file: EDGES, find: "if (state.headed?.to === 'exit') halt.abort();", put: '' },
  },
  {
    name: 'goes on with a ladder after the end',
    seed: 75,
    file: STOP,
    find: 'while (!options.halt?.aborted) {',
    put: 'for (;;) {',
    and: {
      file: STOP,
      find: 'await regrow();\n      if (options.halt?.aborted) break;',
      put: 'await regrow();',
    },
  },
  // What starts a stray again is not fought, and what only came late is.
  {
    name: 'fights a service manager',
    seed: 15,
    file: CLEARANCE,
    find: '  if (respawner)\n',
    put: '  if (false as boolean && respawner)\n',
  },
  {
    name: 'never sees that a stray comes back',
    seed: 13,
    file: COMEBACK,
    find: 'return lives.length >= LIVES_MAX ||',
    put: 'return false &&',
  },
  {
    name: 'does not see that the same parent starts a stray again',
    seed: 13,
    file: COMEBACK,
    find: 'lives.some((it) => it.ppids.includes(stray.ppid))',
    put: 'false',
  },
  {
    name: 'takes every process of a stray for a life of its own',
    seed: 8,
    file: CLEARANCE,
    find: '[...new Set(stopped.map(strayKey))].map((key) => {',
    put: 'stopped.map(strayKey).map((key) => {',
  },
  {
    name: 'takes a copy that was there all the time for a comeback',
    seed: 893,
    file: COMEBACK,
    find: '!it.beside.has(stray.identity)',
    put: 'true',
  },
  // Always an exit after stop, with nothing left behind, with the right code.
  {
    name: 'does not hear a stop during the back-off',
    seed: 11,
    file: TABLE,
    find: "'ask-stop': askedStop,\n    'ask-restart': (state) => sweep({ ...state, unjudged: null }, 'spawn', 0),",
    put: "'ask-stop': ignore,\n    'ask-restart': (state) => sweep({ ...state, unjudged: null }, 'spawn', 0),",
  },
  {
    name: 'does not hear a stop while the worker is replaced',
    seed: 31,
    file: TABLE,
    find: "state.headed?.to === 'exit'\n        ? [state, [say({ what: 'killing' }), { do: 'kill-tree' }]]",
    put: "state.headed !== null\n        ? [state, [say({ what: 'killing' }), { do: 'kill-tree' }]]",
  },
  {
    name: 'lets a second ask wait like the first',
    seed: 219,
    file: TABLE,
    find: "[state, [say({ what: 'killing' }), { do: 'kill-tree' }]]",
    put: "[state, [say({ what: 'killing' })]]",
  },
  {
    name: 'never goes on to SIGKILL',
    seed: 4,
    file: LADDER,
    find: "ladder.phase === 'kill' || killNow || nowMs >= ladder.killAtMs ? 'kill' : 'term'",
    put: "ladder.phase === 'kill' || killNow ? 'kill' : 'term'",
  },
  {
    name: 'ends at once when asked to stop, without the worker',
    seed: 5,
    file: TABLE,
    find: "stopTree(state, { to: 'exit', code: 0, reason: event.reason });\nconst unleased",
    put: 'exit(state, 0, event.reason);\nconst unleased',
  },
  {
    name: 'leaves the last worker’s leftovers when a sweep is blocked',
    seed: 656,
    file: TABLE,
    find: 'return state.spawn === 0 ?',
    put: 'return state.spawn >= 0 ?',
  },
  {
    name: 'leaves the leftovers of a worker that is not started again',
    seed: 44,
    file: TABLE,
    find: "const [next, effects] = stopTree(base, { to: 'exit', ...ending });",
    put: "const next: State = { ...base, phase: 'exited', headed: { to: 'exit', ...ending } }; const effects: Effect[] = [said, { do: 'exit', ...ending, clean: true }];",
  },
  {
    name: 'says 0 where processes survived',
    seed: 237,
    file: TABLE,
    find: "headed: { to: 'exit', code: 75, reason } },\n  [say({ what: 'survivors', count }), { do: 'exit', code: 75,",
    put: "headed: { to: 'exit', code: 0, reason } },\n  [say({ what: 'survivors', count }), { do: 'exit', code: 0,",
  },
  {
    name: 'starts a worker although it was blocked meanwhile',
    seed: 40,
    file: TABLE,
    find: ": [{ ...state, headed: { to: 'exit', ...event.ending } }, []],",
    put: ': [state, []],',
  },
  {
    name: 'breaks on the late report of a start that failed',
    seed: 144,
    file: TABLE,
    find: "nothing was there to stop.\n    'worker-exited': (state, event, policy) =>\n      state.pid === null ? lateExit(state, event, policy) : never(state, event),",
    put: "nothing was there to stop.\n    'worker-exited': never,",
  },
  // Restarts, back-off, crash loops.
  {
    name: 'starts a worker again that --restart leaves ended',
    seed: 19,
    file: TABLE,
    find: "policy.restart === 'never' ||",
    put: 'false ||',
  },
  {
    name: 'takes exit 0 on a conflict for success',
    seed: 247,
    file: TABLE,
    find: 'const failed = code !== 0 || conflict;',
    put: 'const failed = code !== 0;',
  },
  {
    name: 'never gives up on a crash loop',
    seed: 58,
    file: TABLE,
    find: 'if (exitsAtMs.length > policy.maxRestarts) {',
    put: 'if (false as boolean) {',
  },
  {
    name: 'gives up one restart too early',
    seed: 28,
    file: TABLE,
    find: 'exitsAtMs.length > policy.maxRestarts',
    put: 'exitsAtMs.length >= policy.maxRestarts',
  },
  {
    name: 'counts exits that are long past',
    seed: 28,
    file: TABLE,
    find: '(at) => at > exit.atMs - policy.maxRestartsPeriodMs,',
    put: '() => true,',
  },
  {
    name: 'does not double the back-off',
    seed: 7,
    file: TABLE,
    find: 'policy.backoffMinMs * 2 ** Math.min(failures - 1, 40)',
    put: 'policy.backoffMinMs',
  },
  {
    name: 'waits longer than the largest back-off',
    seed: 7,
    file: TABLE,
    find: 'return Math.min(policy.backoffMaxMs, Math.round(doubled * (0.8 + 0.4 * random)));',
    put: 'return Math.round(doubled * (1.1 + 0.4 * random));',
  },
  {
    name: 'takes a run for good that ended in a conflict',
    seed: 94,
    file: TABLE,
    find: 'const good = state.good && !conflict;',
    put: 'const good = state.good;',
  },
  {
    name: 'forgets the failures at the first poll, before the run has proved good',
    seed: 185,
    file: TABLE,
    find: "{ ...state, phase: 'polling', good: true }, [say(",
    put: "{ ...state, phase: 'polling', good: true, failures: 0 }, [say(",
  },
  {
    name: 'never forgets failures',
    seed: 28,
    file: TABLE,
    find: 'const failures = exit.good || calm ? 0 : state.failures + 1;',
    put: 'const failures = calm ? 0 : state.failures + 1;',
  },
  {
    name: 'lets the first exit in a while wait',
    seed: 7,
    file: TABLE,
    find: 'const failures = exit.good || calm ? 0 : state.failures + 1;',
    put: 'const failures = exit.good ? 0 : state.failures + 1;',
  },
  {
    name: 'counts the exits of an outage',
    seed: 28,
    file: TABLE,
    find: 'event.wasOut || state.unjudged === null',
    put: 'state.unjudged === null',
  },
  {
    name: 'takes every doubt for an outage',
    seed: 64,
    file: TABLE,
    find: 'event.wasOut || state.unjudged === null',
    put: 'true || state.unjudged === null',
  },
  {
    name: 'starts the next worker while the Bot API is out of reach',
    seed: 58,
    file: TABLE,
    find: 'if (event.apiInDoubt && !conflict) return',
    put: 'if (event.atMs < 0) return',
  },
  {
    name: 'answers the second exit in a row at once as well',
    seed: 7,
    file: TABLE,
    find: '> CALM_MS;',
    put: '> 100;',
  },

  // With a lease: no worker outside of a term, and no term given back beside a worker.
  {
    name: 'starts without the lease',
    seed: 2,
    file: TABLE,
    find: "booted: (state, _event, policy) => (policy.lease ? standBy(state) : sweep(state, 'spawn', 0)),",
    put: "booted: (state) => sweep(state, 'spawn', 0),",
  },
  {
    name: 'polls on when the lease is lost',
    seed: 63,
    file: TABLE,
    find: '  polling: {\n    booted: never,\n    leased: never,\n    unleased,',
    put: '  polling: {\n    booted: never,\n    leased: never,\n    unleased: ignore,',
  },
  {
    name: 'waits out the back-off without the lease',
    seed: 65,
    file: TABLE,
    find: '  backoff: {\n    booted: never,\n    leased: never,\n    unleased,',
    put: '  backoff: {\n    booted: never,\n    leased: never,\n    unleased: ignore,',
  },
  {
    name: 'replaces the worker although the lease was lost meanwhile',
    seed: 301,
    file: TABLE,
    find: "state.headed?.to === 'respawn'\n        ?",
    put: 'false\n        ?',
  },
  {
    name: 'gives the lease back before the worker is gone',
    seed: 10,
    file: TABLE,
    find: "stopTree(state, { to: 'standby', reason: event.reason });",
    put: "{ const [next, effects] = stopTree(state, { to: 'standby', reason: event.reason }); return [next, [{ do: 'release' }, ...effects]]; };",
  },
  {
    name: 'gives the lease back although something of the worker survived',
    seed: 237,
    file: TABLE,
    find: "{ do: 'exit', code: 75, reason, clean: false }",
    put: "{ do: 'exit', code: 75, reason, clean: true }",
  },
  {
    name: 'stands by beside what survived of the worker',
    seed: 237,
    file: TABLE,
    find: 'if (survivors > 0)',
    put: "if (survivors > 0 && headed.to !== 'standby')",
  },
  {
    name: 'stands by without giving the lease back',
    seed: 8,
    file: TABLE,
    find: "return standBy(left, [{ do: 'release' }]);",
    put: 'return standBy(left);',
  },
  {
    name: 'starts a worker while the term is in doubt',
    seed: 414,
    file: EDGES,
    find: 'for (let doubt = right?.settled(); doubt && !blocked && !abandoned.aborted; doubt = right?.settled()) {',
    put: 'for (; false; ) {',
  },
  {
    name: 'starts a worker on an old look after a doubt',
    seed: 1108,
    file: EDGES,
    find: 'await doubt;\n      blocked = await sweeper.quick(abandoned);',
    put: 'await doubt;',
  },
  {
    name: 'gives a worker whose lease is lost all the time it wants',
    seed: 237,
    file: EDGES,
    find: 'onKill() {\n          killing.abort();',
    put: 'onKill() {',
  },
];
