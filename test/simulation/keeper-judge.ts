/**
 * The judge of the lease: knows the real time and all machines, and holds every event against what must hold. Takes nothing from
 * a keeper but what it does.
 */
import type { LeaseRecord } from '../../src/core/lease-record.ts';
import type { Clock } from './clock.ts';
import type { SimLeaseMachine } from './keeper-machine.ts';

export interface KeeperJudge {
  readonly violations: readonly string[];
  readonly counts: { [name: string]: number };
  /** Compare-and-set by `writer`. */
  wrote(rec: LeaseRecord, writer: string): void;
  won(machine: SimLeaseMachine, epoch: number): void;
  forwarded(machine: SimLeaseMachine): void;
  handed(machine: SimLeaseMachine): void;
  asked(machine: SimLeaseMachine, ms: number): void;
  /** A write of it has reached the engine, which saw the latest it may be sent at. */
  always(machines: readonly SimLeaseMachine[]): void;
  /** The engine has lost writes that it had acknowledged: two workers (not two doors) may overlap. */
  lostWrites(): void;
  count(name: string, by?: number): void;
  fail(text: string): void;
  /** Real ms in which two doors stood open, or the wrong one. */
  readonly openTwiceMs: number;
  readonly wrongPolls: number;
}

/** More requests of one machine than this in ten seconds: somebody spins. */
const REQUESTS_MAX = 60;

/** `limit`: in this world the rules cannot hold; what is broken is counted, not judged. */
export function createKeeperJudge(clock: Clock, limit: boolean): KeeperJudge {
  const violations: string[] = [];
  const counts: { [name: string]: number } = {};
  const requests = new Map<string, number[]>();
  /** Whose the last taking or renewing write was. */
  let rightful = '';
  let lastEpoch = 0;
  let lostWritesMs = Number.NEGATIVE_INFINITY;
  let doublesSinceMs: number | null = null;
  let openTwiceMs = 0;
  let wrongPolls = 0;

  const count = (name: string, by = 1) => {
    counts[name] = (counts[name] ?? 0) + by;
  };
  const fail = (text: string) => void violations.push(`${Math.round(clock.now())} ms: ${text}`);
  const broken = (text: string) => (limit ? count(`limit: ${text.replace(/[0-9]+/g, 'N')}`) : fail(text));

  function polled(machine: SimLeaseMachine, what: string): void {
    if (machine.id === rightful) return;
    wrongPolls += 1;
    broken(`${machine.name} ${what} outside its term (the record was written by ${rightful || 'nobody'})`);
  }

  return {
    violations,
    counts,
    count,
    fail,
    get openTwiceMs() {
      return openTwiceMs;
    },
    get wrongPolls() {
      return wrongPolls;
    },
    wrote(rec, writer) {
      if (rec.holder === writer) rightful = writer;
      else if (rec.holder === '') rightful = '';
    },
    won(machine, epoch) {
      count('terms');
      if (epoch <= lastEpoch) broken(`${machine.name} starts term ${epoch} after ${lastEpoch}`);
      lastEpoch = Math.max(lastEpoch, epoch);
      if (machine.workerLives) broken(`${machine.name} wins while its own worker lives`);
    },
    forwarded(machine) {
      count('polls');
      polled(machine, 'forwards a poll');
    },
    handed: (machine) => polled(machine, 'hands an answer on'),
    asked(machine, ms) {
      count('requests');
      if (machine.outstanding > 1) fail(`${machine.name} has ${machine.outstanding} requests in flight`);
      if (!(ms >= 1)) fail(`${machine.name} gives a request ${ms} ms`);
      const recent = (requests.get(machine.name) ?? []).filter((at) => at > clock.now() - 10_000);
      recent.push(clock.now());
      requests.set(machine.name, recent);
      if (recent.length > REQUESTS_MAX) fail(`${machine.name} sends ${recent.length} requests in 10 s`);
    },
    lostWrites() {
      lostWritesMs = clock.now();
    },
    always(machines) {
      const open = machines.filter((it) => it.doorIsOpen());
      if (open.length > 1) {
        if (doublesSinceMs === null) broken(`two doors are open: ${open.map(({ name }) => name).join(', ')}`);
        doublesSinceMs ??= clock.now();
      } else if (doublesSinceMs !== null) {
        openTwiceMs += clock.now() - doublesSinceMs;
        doublesSinceMs = null;
      }
      const workers = machines.filter((it) => it.workerLives);
      if (workers.length < 2) return;
      // One whose supervisor stood still could not be stopped in time: the door is what holds.
      const excused = workers.some((it) => it.disturbedInTerm) || clock.now() < lostWritesMs + 60_000;
      if (excused) count('two workers, one behind a shut door');
      else broken(`two workers live: ${workers.map(({ name }) => name).join(', ')}`);
    },
  };
}
