/**
 * Who polls the simulated bot, as far as a getUpdates of ours shows it: the poll goes round among those who want it, whoever has
 * it loses it to ours and reacts, at once or after the server has held the 409 back. The ledger is the program's own.
 */

import type { Prover } from '../../src/strays/prover.ts';
import { createLedger, type Seen } from '../../src/strays/reactions.ts';
import type { Instruments } from './instruments.ts';
import type { Body } from './machine.ts';

export interface SimProver extends Pick<Prover, 'look' | 'experiment' | 'evidence' | 'unseen'> {
  /** A poll of the worker's was taken away: the next one that goes out is watched. */
  hunt(onReaction: () => void): void;
  /** Somebody else has the poll now, or wants it. */
  isDisturbed(): boolean;
}

export interface SimProverOptions extends Instruments {
  healed(): boolean;
  isOurs(body: Body): boolean;
  isDead(): boolean;
}

const CONFLICT_BYTES = 420;
const COINCIDENCES_MAX = 4;
const HELD_BACK_MS = 3_000;
const UNDISTURBED_MS = 1_500;
const TOTAL_MS = 10_000;

export function createSimProver(options: SimProverOptions): SimProver {
  const { clock, random, machine, check, pause, sim, healed, isOurs, isDead } = options;
  const ledger = createLedger();
  const coincidences = new Map<Body, number>();
  const conflicts = new Map<Body, number>();
  let pokes = 0;

  const isAlive = ({ pid, startId }: { readonly pid: number; readonly startId: string }) =>
    machine.bodies.get(pid)?.startId === startId;
  const clients = () => machine.living().filter((body) => machine.connected(body) && !isOurs(body));
  const wantsPoll = (body: Body) => body.reacts && body.life.kind !== 'innocent';
  const ownerOf = ({ pid, startId }: Body) => ({ pid, startId });

  function clientOf(body: Body): Seen['client'] {
    const parent = machine.bodies.get(body.ppid);
    return {
      ...{ key: `${body.pid} ${body.startId}`, uid: body.uid, cgroup: null, isHeld: true },
      owner: { ...ownerOf(body), parent: parent && parent.pid > 1 ? ownerOf(parent) : null, program: null },
    };
  }

  function note(body: Body, poke: number, bytes: number, isConflict: boolean): void {
    const client = clientOf(body);
    check.reacted(sim(), body, poke, isConflict);
    ledger.reacted(poke, 0, {
      client,
      reaction: { socket: client.key, bytes, isConflict, isTooLong: false, isUnclear: false },
      holdsAnother: false,
    });
    // Some libraries end at a 409.
    const { conflictsMax } = body.life;
    if (conflictsMax === undefined) return;
    conflicts.set(body, (conflicts.get(body) ?? 0) + 1);
    if (conflicts.get(body)! < conflictsMax) return;
    clock.after(random.int(0, 20), () => machine.end(body, { code: 1, signal: null }));
  }

  /** Our poll goes out now; `onSeen` at each reaction. Returns whether somebody lost the poll to it. */
  function poke(onSeen: () => void): boolean {
    const number = ++pokes;
    const there = clients();
    const pollers = there.filter(wantsPoll);
    const rttMs = random.int(1, 80);
    const tell = (body: Body, ms: number, bytes: number, isConflict: boolean) =>
      clock.after(ms, () => {
        if (isDead() || machine.bodies.get(body.pid) !== body || body.state === 'Z') return;
        note(body, number, bytes, isConflict);
        onSeen();
        clock.stir();
      });
    if (pollers.length > 0) {
      const lateMs = random.chance(0.2) ? HELD_BACK_MS : 0;
      tell(random.pick(pollers), rttMs + lateMs, CONFLICT_BYTES + random.int(0, 9), true);
    }
    for (const body of there) {
      if (body.life.kind !== 'innocent') continue;
      // What passes our own poll on.
      if (body.reacts) tell(body, rttMs, CONFLICT_BYTES, true);
      else if (random.chance(0.3)) {
        const before = coincidences.get(body) ?? 0;
        coincidences.set(body, before + 1);
        // Something else comes in just then: as long as a 409 is now and then, but never the same twice.
        const isConflict = !body.env.holdsToken && before < COINCIDENCES_MAX;
        tell(body, rttMs, isConflict ? CONFLICT_BYTES - 30 + 20 * before : 1_000 + 20 * before, isConflict);
      }
    }
    return pollers.length > 0;
  }

  return {
    // Whether somebody is connected is asked anew each time.
    look: async () => null,
    evidence: () => ledger.evidence(isAlive),
    unseen: () => [],
    isDisturbed: () => clients().some(wantsPoll),
    hunt(onReaction) {
      ledger.connected(clients().map(clientOf));
      poke(onReaction);
    },
    async experiment({ signal, beforeFirst, isEnough, onLate }) {
      const untilMs = clock.now() + TOTAL_MS;
      let isOver = false;
      let isDisturbed = false;
      let seen = 0;
      const onSeen = () => (isOver ? onLate() : undefined);
      /** Waits; true where what came in meanwhile is enough. */
      const enoughAfter = async (ms: number) => {
        await pause(ms, signal);
        if (signal.aborted || ledger.count() === seen) return false;
        seen = ledger.count();
        return await isEnough();
      };
      const over = <T>(outcome: T): T => {
        isOver = true;
        return outcome;
      };
      for (let round = 1; ; round++) {
        check.asked(sim());
        await pause(random.int(1, 60), signal);
        if (signal.aborted) return over({ kind: 'over' });
        if (!healed() && random.chance(0.03))
          return over(random.pick([{ kind: 'over' }, { kind: 'failed', description: 'no answer' }]));
        const there = clients();
        ledger.connected(there.map(clientOf));
        if (there.length === 0) return over({ kind: 'over' });
        if (round === 1) beforeFirst(there.length);
        if (!healed() && there.some(wantsPoll) && random.chance(0.02)) {
          check.blinded(sim());
          return over({ kind: 'blind' });
        }
        const sentMs = clock.now();
        isDisturbed = poke(onSeen) || isDisturbed;
        if (await enoughAfter(90)) return over({ kind: 'convicted' });
        if (signal.aborted) return over({ kind: 'over' });
        if (!isDisturbed && !ledger.isOpen(isAlive)) {
          if (await enoughAfter(UNDISTURBED_MS - 90)) return over({ kind: 'convicted' });
          return over({ kind: 'over' });
        }
        const nextMs = sentMs + random.int(3_300, 4_500);
        if (nextMs + UNDISTURBED_MS > untilMs) return over({ kind: 'over' });
        while (clock.now() < nextMs && !signal.aborted)
          if (await enoughAfter(Math.min(100, nextMs - clock.now()))) return over({ kind: 'convicted' });
      }
    },
  };
}
