/**
 * The judge of the lease: knows the real time and all machines, and holds every event against what must hold. Takes nothing from
 * a keeper but what it does.
 */

import { livesMs, stopAfterMs } from '../../src/lease/timing.ts';
import type { Clock } from './clock.ts';
import type { SimLeaseMachine } from './keeper-machine.ts';
import type { Entry, SimStore } from './keeper-store.ts';
import type { Story } from './story.ts';

export type KeeperJudge = ReturnType<typeof createKeeperJudge>;

/** No clock of the simulation is slower than this. */
const FAST = 1.0042;

/** More requests of one machine than this in ten seconds: somebody spins. */
const REQUESTS_MAX = 60;

export function createKeeperJudge(story: Story, clock: Clock, store: () => SimStore) {
  const { fail, count } = story;
  const requests = new Map<string, number[]>();
  /** Whose the last taking or renewing write was. */
  let rightful = '';
  /** When the writer of the latest write that took effect began to send it; by writer. */
  const sentMs = new Map<string, number>();
  const roughMs = new Map<SimLeaseMachine | null, number>();
  let lastEpoch = 0;
  let lostWritesMs = Number.NEGATIVE_INFINITY;

  function polled(machine: SimLeaseMachine, what: string): void {
    if (machine.id !== rightful)
      fail(`${machine.name} ${what} outside its term (the record was written by ${rightful || 'nobody'})`);
  }

  return {
    /** Compare-and-set by `writer`. */
    wrote({ rec, writer, sentMs: sent }: Entry) {
      if (rec.holder === writer) {
        rightful = writer;
        sentMs.set(writer, Math.max(sent, sentMs.get(writer) ?? 0));
      } else if (rec.holder === '' && rec.vacant === undefined) rightful = '';
    },
    won(machine: SimLeaseMachine, epoch: number) {
      count('terms');
      if (epoch <= lastEpoch) fail(`${machine.name} starts term ${epoch} after ${lastEpoch}`);
      lastEpoch = Math.max(lastEpoch, epoch);
      if (machine.workerLives) fail(`${machine.name} wins while its own worker lives`);
    },
    /** There was trouble between this machine and the engine, or with itself; null: for all. */
    rough: (machine: SimLeaseMachine | null) => void roughMs.set(machine, clock.now()),
    spawned(machine: SimLeaseMachine, valid: boolean) {
      if (!valid) fail(`${machine.name} spawns a worker without the right to poll`);
    },
    forwarded(machine: SimLeaseMachine) {
      count('polls');
      const lateMs = clock.now() - sentMs.get(machine.id)! - FAST * stopAfterMs(machine.timing);
      // A leap below a second goes unseen.
      if (lateMs > (machine.disturbedInTerm ? 3_000 : 25))
        fail(`${machine.name} forwards a poll ${lateMs} ms after its stop point`);
      polled(machine, 'forwards a poll');
    },
    handed: (machine: SimLeaseMachine) => polled(machine, 'hands an answer on'),
    asked(machine: SimLeaseMachine, ms: number) {
      count('requests');
      if (machine.outstanding > 1) fail(`${machine.name} has ${machine.outstanding} requests in flight`);
      if (!(ms >= 1)) fail(`${machine.name} gives a request ${ms} ms`);
      if (ms > machine.leftMs() + 1) fail(`${machine.name} gives a request ${ms} ms, past its stop point`);
      const recent = (requests.get(machine.name) ?? []).filter((at) => at > clock.now() - 10_000);
      recent.push(clock.now());
      requests.set(machine.name, recent);
      if (recent.length > REQUESTS_MAX) fail(`${machine.name} sends ${recent.length} requests in 10 s`);
    },
    /** `leftMs` of the grace. */
    lost(machine: SimLeaseMachine, why: 'deadline' | 'taken', leftMs: number) {
      count(`lost: ${why}`);
      if (why === 'taken' && leftMs > 0)
        fail(`${machine.name} leaves its worker ${leftMs} ms though another polls`);
      const { graceMs, slackMs, ttlMs } = machine.timing;
      const lostWritesLately = clock.now() < lostWritesMs + 2 * ttlMs;
      if (why === 'taken' && !lostWritesLately && store().current?.rec.holder === machine.id)
        fail(`${machine.name} gives up a record that names it`);
      const { down, frozen } = store();
      if (down || frozen || machine.link !== 'fine') roughMs.set(machine, clock.now());
      const smoothMs = clock.now() - Math.max(roughMs.get(null) ?? 0, roughMs.get(machine) ?? 0);
      if (why === 'deadline' && smoothMs > ttlMs) fail(`${machine.name} loses its term for no reason`);
      if (leftMs > graceMs + slackMs) fail(`${machine.name} leaves its worker ${leftMs} ms`);
    },
    /** The engine has lost writes that it had acknowledged: two workers (not two doors) may overlap. */
    lostWrites() {
      lostWritesMs = clock.now();
    },
    always(machines: readonly SimLeaseMachine[]) {
      const open = machines.filter((it) => it.doorIsOpen());
      if (open.length > 1) fail(`two doors are open: ${open.map(({ name }) => name).join(', ')}`);
      const workers = machines.filter((it) => it.workerLives);
      for (const it of workers) {
        const lateMs = clock.now() - sentMs.get(it.id)! - FAST * livesMs(it.timing);
        if (lateMs > 25 && !it.disturbedInTerm) fail(`${it.name}'s worker lives ${lateMs} ms too long`);
      }
      if (workers.length < 2) return;
      // One whose supervisor stood still could not be stopped in time: the door is what holds.
      const excused = workers.some((it) => it.disturbedInTerm) || clock.now() < lostWritesMs + 60_000;
      if (excused) count('two workers, one behind a shut door');
      else fail(`two workers live: ${workers.map(({ name }) => name).join(', ')}`);
    },
  };
}
