/**
 * The four simulations: thousands of schedules on a virtual clock, each judged at every step by a judge that takes nothing from
 * the code under test; and their lists of rules to break on purpose, each of which its simulation has to catch.
 */
import { runSeed as door } from './door.ts';
import { runSeed as keeper } from './keeper.ts';
import { runSeed as lock } from './lock.ts';
import type { Outcome } from './story.ts';
import { runSeed as supervisor } from './world.ts';

export interface Simulation {
  readonly name: 'supervisor' | 'door' | 'keeper' | 'lock';
  /** What holds in every schedule. */
  readonly promise: string;
  /** The file of this folder that exports `runSeed`. */
  readonly entry: string;
  run(seed: number): Promise<Outcome>;
  /** What has to happen in some of some thousand schedules: a simulation in which nothing happens would pass as well. */
  readonly happens: readonly string[];
}

export const SIMULATIONS: readonly Simulation[] = [
  {
    name: 'supervisor',
    promise:
      'one worker, no stray beside a first one that a look has shown, none for long beside any that was seen to poll, no signal without proof, an exit after stop, a worker after trouble',
    entry: 'world.ts',
    run: supervisor,
    happens: [
      ...['spawns', 'unplanned exits', 'first spawns', 'crash loops', 'exits in an outage', 'exits in doubt'],
      ...['strays stopped', 'strays stopped beside a worker', 'reactions', 'yields', 'insists'],
      ...['waits for a rival', 'places taken'],
      ...['SIGTERM', 'SIGKILL', 'exit 0', 'exit 69', 'exit 75', 'exit 77'],
      ...['sweeping', 'starting', 'polling'].flatMap((phase) =>
        ['ask-stop', 'ask-restart', 'blocked'].map((ask) => `${phase} × ${ask}`),
      ),
      ...['stopping × ask-restart', 'backoff × ask-restart'],
      ...['polling × ask-handover', 'handovers', 'taken back'],
      ...['exit 1', 'exit 127', 'exit 139'],
      ...['stopping × ask-stop', 'stopping × blocked', 'backoff × ask-stop', 'backoff × blocked'],
    ],
  },
  {
    name: 'door',
    promise: 'one poll upstream at a time, each poll answered in its time, nobody starves, nothing is lost',
    entry: 'door.ts',
    run: door,
    happens: [
      ...['updates', 'verdict', 'conflict', 'webhook', 'flood', 'outage'],
      ...['held', 'retrying', 'overdue', 'shut', 'released', 'gone'].map((why) => `empty: ${why}`),
      ...['takeovers', 'closed with an open poll', 'exactly once', 'exactly once, by several processes'],
      ...['overlap', 'overlap-over', 'rival', 'deaf'],
    ],
  },
  {
    name: 'keeper',
    promise: 'never two doors, no poll outside a term, epochs rise, somebody polls when all is well',
    entry: 'keeper.ts',
    run: keeper,
    happens: [
      ...['crashes', 'supervisor stopped', 'suspended', 'frozen', 'wiped', 'rolled back', 'edited'],
      ...['terms', 'freed', 'rewritten', 'asked to hand over', 'polls given up', 'answers dropped'],
      ...['lost: deadline', 'lost: taken', 'finale: crash', 'finale: stop', 'finale: takeover'],
      // The limit of a supervisor that stands still while its worker goes on: two workers, one door.
      'two workers, one behind a shut door',
    ],
  },
  {
    name: 'lock',
    promise: 'never two supervisors, and one gets the lock where nobody else has it',
    entry: 'lock.ts',
    run: lock,
    happens: [
      ...['held at the first name', 'held at another name', 'left to holder', 'left to silent'],
      ...['frozen', 'killed', 'handed over', 'alone at last', 'several at last'],
      'nobody to leave it to',
    ],
  },
];

/** The end of a failed schedule's story, and how to see it again. */
export function storyOf({ name }: Simulation, { seed, log, violations }: Outcome): string {
  const again = `node --import tsx test/simulation/run.ts ${name} --seed ${seed}`;
  return [`seed ${seed} failed; again: ${again}`, ...log.slice(-40), ...violations].join('\n');
}

/** Runs the schedules of `seeds` seeds from `first` on; returns what has happened in them, or the story of the first that fails. */
export async function runSeeds(
  simulation: Simulation,
  first: number,
  seeds: number,
): Promise<{ readonly counts: ReadonlyMap<string, number>; readonly failed: string | null }> {
  const counts = new Map<string, number>();
  for (let seed = first; seed < first + seeds; seed++) {
    const outcome = await simulation.run(seed);
    if (outcome.violations.length > 0) return { counts, failed: storyOf(simulation, outcome) };
    for (const [name, count] of Object.entries(outcome.counts))
      counts.set(name, (counts.get(name) ?? 0) + count);
  }
  return { counts, failed: null };
}
