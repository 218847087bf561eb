/**
 * One simulated lease from a seed: machines that start `singlepoll` on the same bot, one engine, clocks that are not quite right, and
 * a schedule of troubles that ends. Then one machine has to poll, keep polling, and hand over when it stops. Judged at every
 * step (keeper-judge.ts). `npm run simulate -- keeper --seeds 100000`, `npm run simulate -- keeper --seed 17`.
 */
import { LEASE_PROFILES, type LeaseTiming, waitMs } from '../../src/lease/timing.ts';
import { createClock, planner, runWorld } from './clock.ts';
import { createSimClocks } from './keeper-clocks.ts';
import { createKeeperJudge } from './keeper-judge.ts';
import { createSimLeaseMachine, type Link, type SimLeaseMachine, STOP_TIMEOUT_MS } from './keeper-machine.ts';
import { createSimStore } from './keeper-store.ts';
import { createRandom, type Random } from './random.ts';
import { createStory, type Outcome } from './story.ts';

/** Which troubles a world knows. */
function randomTraits(random: Random) {
  const quiet = random.chance(0.1);
  const may = (probability: number) => !quiet && random.chance(probability);
  // Where the engine forgets, only dates keep the epochs rising.
  const losses = may(0.35);
  return {
    crashes: may(0.4),
    stops: may(0.35),
    takeovers: may(0.3),
    pauses: may(0.35),
    suspends: may(0.25),
    freezes: may(0.2),
    wallSteps: !losses && may(0.2),
    links: may(0.6),
    outages: may(0.3),
    losses,
    edits: may(0.1),
    lies: may(0.2),
    rude: may(0.4),
  };
}

/** Twice what the allowance is would break the workers' deadline; within it nothing may. */
const RATE = 0.004;

export async function runSeed(seed: number): Promise<Outcome> {
  const random = createRandom(seed);
  const clock = createClock();
  const traits = randomTraits(random);
  const story = createStory(clock.now);
  const { say } = story;
  const judge = createKeeperJudge(story, clock, () => store);
  const watched = random.chance(0.7);
  const { fast, default: normal } = LEASE_PROFILES;
  // Where the record vanishes, nobody knows what its holder lives by.
  const mixed = !traits.losses && random.chance(0.25);
  const timing = random.chance(0.25) ? fast : normal;
  const troubleMs = random.int(20_000, 150_000);
  const healed = () => clock.now() >= troubleMs;
  let ids = 0;

  const store = createSimStore(clock, random.chance(0.5), (entry, byCas) => {
    say(entry === null ? 'the record is gone' : `record: ${show(entry.rec)}`);
    if (byCas && entry) judge.wrote(entry);
    if (!watched) return;
    for (const machine of machines)
      if (healed() || random.chance(0.95)) clock.after(random.int(1, 15), () => machine.hint());
  });

  const count = random.pick([1, 2, 2, 2, 3, 3, 4]);
  const machines: SimLeaseMachine[] = Array.from({ length: count }, (_, index) => {
    const rate = 1 + RATE * (2 * random.next() - 1);
    const clocks = createSimClocks(clock, rate, random.int(-2_000, 2_000), random.int(0, 5_000_000));
    return createSimLeaseMachine(
      {
        ...{ clock, random, store, story, judge },
        log: say,
        lateMs: () => Math.max(1, Math.min(3 * timing.ttlMs, troubleMs - clock.now())),
        nextId: () => `id-${++ids}`,
      },
      {
        name: `m${index}`,
        timing: mixed && random.chance(0.5) ? fast : timing,
        clocks,
        lock: random.chance(0.5) ? `lock-${index}` : null,
        termMs: () =>
          traits.rude && random.chance(0.4) ? null : random.int(1, random.chance(0.2) ? 8_000 : 300),
      },
    );
  });
  const longest: LeaseTiming = machines.some((it) => it.timing === normal) ? normal : fast;
  // A standby does not follow every renewal of a holder that is faster than itself.
  const prompt = watched && machines.every((it) => it.timing === longest);
  const longestWaitMs = waitMs(longest, 0) * (1 + 2 * RATE);

  const plan = planner(clock, random, healed);
  /** Some time, over when all is well. */
  const spanMs = () => {
    const ms = random.pick([random.int(50, 2_000), random.int(1_000, 12_000), random.int(5_000, 45_000)]);
    return Math.max(0, Math.min(ms, troubleMs - clock.now()));
  };
  const anyUp = () => random.pick(machines.filter(({ up }) => up));
  const start = (machine: SimLeaseMachine, takeover = false) => {
    if (!machine.up) machine.start({ wish: takeover });
  };

  for (const [index, machine] of machines.entries()) {
    const first = index === 0 && random.chance(0.5);
    // Another machine has been there before, and left.
    if (first) store.edit({ v: 1, holder: '', epoch: 1, seq: 1, ttl: machine.timing.ttlMs });
    clock.after(first ? 0 : random.int(0, random.chance(0.5) ? 50 : 15_000), () =>
      machine.start({ wish: false }),
    );
  }

  plan(traits.crashes, random.pick([8_000, 30_000]), () => {
    const machine = anyUp();
    machine?.crash();
    // A new process takes some time to be there.
    if (machine) clock.after(random.chance(0.5) ? random.int(20, 500) : spanMs(), () => start(machine));
  });
  plan(traits.stops, random.pick([10_000, 40_000]), () => {
    const machine = anyUp();
    machine?.stop();
    if (machine) startWhenDown(machine, spanMs());
  });
  function startWhenDown(machine: SimLeaseMachine, ms: number): void {
    clock.after(ms, () => {
      if (machine.up && !healed()) startWhenDown(machine, 500);
      else start(machine, traits.takeovers && random.chance(0.5));
    });
  }
  plan(traits.takeovers, 25_000, () => {
    const machine = machines.find((it) => it.up && it.keeper.role === 'standby');
    machine?.crash();
    if (machine) clock.after(random.int(20, 300), () => start(machine, true));
  });
  plan(traits.pauses, random.pick([6_000, 25_000]), () => {
    const machine = anyUp();
    if (!machine || machine.paused) return;
    machine.pause();
    clock.after(spanMs(), () => {
      comesBack(machine);
      machine.goOn();
    });
  });
  const stand = (frozen: boolean) => {
    const machine = anyUp();
    if (!machine || machine.paused) return;
    machine.stand(frozen);
    clock.after(spanMs(), () => {
      comesBack(machine, frozen);
      machine.wake();
    });
  };
  plan(traits.suspends, random.pick([8_000, 30_000]), () => stand(false));
  plan(traits.freezes, random.pick([8_000, 30_000]), () => stand(true));
  plan(traits.wallSteps, 15_000, () => {
    const machine = anyUp();
    if (machine) machine.setWall(random.int(-3_600_000, 3_600_000));
  });
  plan(traits.links, random.pick([3_000, 10_000, 25_000]), () => {
    const machine = random.pick(machines);
    if (machine.link !== 'fine') return;
    const some = ['slow', 'cut', 'cut', 'requests lost', 'answers lost', 'refused', 'odd', 'odd'] as const;
    const link: Link = random.pick(some);
    say(`${machine.name}'s way to the engine: ${link}`);
    machine.link = link;
    clock.after(spanMs(), () => {
      machine.link = 'fine';
      judge.rough(machine);
      say(`${machine.name}'s way to the engine: fine`);
    });
  });
  plan(traits.outages, random.pick([10_000, 40_000]), () => {
    if (store.down || store.frozen) return;
    const what = random.pick(['down', 'frozen'] as const);
    say(`the engine is ${what}`);
    store[what] = true;
    clock.after(spanMs(), () => {
      say('the engine is back');
      store[what] = false;
      judge.rough(null);
    });
  });
  let lossAtMs = Number.NEGATIVE_INFINITY;
  plan(traits.losses, random.pick([5_000, 20_000]), () => {
    // It may forget everything again and again; the last writes only once in a while.
    const again = clock.now() < lossAtMs + 3 * longestWaitMs;
    if (again || random.chance(0.5)) wipe();
    else rollBack();
  });

  function wipe(): void {
    story.count('wiped');
    store.wipe();
  }

  /** The worst moment for a machine to come back. */
  const comesBack = (machine: SimLeaseMachine, frozen = false) => {
    judge.rough(machine);
    if (traits.losses && random.chance(frozen ? 0.4 : 0.15)) wipe();
  };

  /** Up to two renewals of the present holder; no more than a gate on schedule can bear. */
  function rollBack(): void {
    const { history } = store;
    const last = history.at(-1);
    const forget = random.int(1, 2);
    const target = history.at(-1 - forget);
    if (!last || !target || last.rec.holder === '') return;
    const forgotten = history.slice(-forget);
    const same = [target, ...forgotten].every(
      ({ rec }) => rec.holder === last.rec.holder && rec.epoch === last.rec.epoch,
    );
    const stopMs = last.sentMs + 0.6 * last.rec.ttl;
    if (!same || stopMs > target.appliedMs + last.rec.ttl) return;
    lossAtMs = clock.now();
    say(`the engine forgets ${forget} writes`);
    story.count('rolled back');
    judge.lostWrites();
    store.rollBack(forget);
  }

  plan(traits.edits, 30_000, () => {
    const rec = store.current?.rec;
    if (!rec || clock.now() < lossAtMs + 3 * longestWaitMs) return;
    lossAtMs = clock.now();
    story.count('edited');
    say('somebody edits the record');
    store.edit({ ...rec, holder: 'operator', seq: rec.seq + random.int(1, 3) });
  });
  plan(traits.lies, 2_000, () => random.pick(machines).hint());

  /** After the last trouble: stops and closings under way, a whole wait, looks, requests, hand-overs on request. */
  const healedWithinMs =
    12_000 +
    2 * (longestWaitMs + longest.reapMs) +
    4 * (longest.pollMs + longest.requestMs) +
    longest.graceMs;
  const calmMs = 20_000;
  let finale: { check(): void } | null = null;
  clock.after(troubleMs, () => {
    say('all is well');
    const anybody = () => {
      if (machines.every(({ up }) => !up)) start(machines[0]!);
    };
    anybody();
    clock.after(STOP_TIMEOUT_MS + 1_000, anybody);
  });
  let over = false;
  const whenCalm = () => {
    const late = clock.now() >= troubleMs + healedWithinMs;
    const leaders = machines.filter((it) => it.doorIsOpen() && it.workerLives);
    const rest = machines.filter((it) => it.up && it.workerLives !== it.doorIsOpen());
    const calm = leaders.length === 1 && rest.length === 0 && store.current?.rec.wants === undefined;
    const settled = calm && machines.every((it) => !it.up || it === leaders[0] || it.standsBy());
    if (settled || late) finale = createFinale();
    else clock.after(1_000, whenCalm);
  };
  // Those that stop now are gone by then.
  clock.after(troubleMs + STOP_TIMEOUT_MS + 2_000, whenCalm);

  /** One polls, undisturbed; then it ends, and the next takes its place in time. */
  function createFinale() {
    const open = machines.filter((it) => it.doorIsOpen());
    const leader = open[0];
    if (!leader || open.length !== 1) {
      story.fail(`${open.length} doors are open when all has been well for ${Math.round(healedWithinMs)} ms`);
      return { check() {} };
    }
    const before = { polls: leader.polls, losses: leader.losses };
    const standbys = machines.filter((it) => it.up && it !== leader);
    const asked = standbys.map(({ requests }) => requests);
    let wantedBy: { readonly atMs: number; readonly what: string } | null = null;
    let taker: SimLeaseMachine | null = null;
    const next = () => machines.find((it) => it !== leader && it.doorIsOpen());
    const expect = (what: string, ms: number) => {
      wantedBy = { atMs: clock.now() + ms, what };
    };
    clock.after(calmMs, () => {
      if (!leader.doorIsOpen() || leader.losses !== before.losses)
        story.fail(`${leader.name} has lost its term although all was well`);
      if (leader.polls < before.polls + 2) story.fail(`${leader.name} holds the lease and does not poll`);
      for (const [index, it] of standbys.entries()) {
        const each = (calmMs / (it.requests - asked[index]!)) * (15_000 / it.timing.ttlMs);
        if (it.timing === normal && leader.timing === normal && each < 1_800)
          story.fail(`standby ${it.name} asks the engine every ${Math.round(each)} ms`);
      }
      over = standbys.length === 0;
      if (over) return;
      const how = random.pick(['crash', 'stop', 'takeover'] as const);
      story.count(`finale: ${how}`);
      if (how === 'takeover') {
        taker = random.pick(standbys);
        taker.crash();
        taker.start({ wish: true });
        // Where hints fail, the holder finds the wish when it writes.
        const looks = longest.renewMs + 1.3 * longest.pollMs;
        expect('a request to hand over', STOP_TIMEOUT_MS + longest.reapMs + looks + 200);
      } else if (how === 'crash') {
        leader.crash();
        const ms =
          Math.max(longestWaitMs, waitMs(leader.timing, 0)) + (prompt ? 100 : 1.3 * longest.pollMs + 100);
        expect('a crash', ms + longest.slackMs / 2);
      } else {
        leader.stop();
        const released = () => {
          if (leader.up) clock.after(5, released);
          else expect('a stop', prompt ? 80 : 1.3 * longest.pollMs);
        };
        released();
      }
    });
    return {
      check() {
        if (!wantedBy || clock.now() < wantedBy.atMs) return;
        const now = next();
        if (!now || (taker && now !== taker))
          story.fail(`${now?.name ?? 'nobody'} has taken over in time after ${wantedBy.what}`);
        over = true;
      },
    };
  }

  const untilMs = troubleMs + healedWithinMs + calmMs + 30_000;
  await runWorld(clock, story, untilMs, () => {
    judge.always(machines);
    finale?.check();
    return story.violations.length === 0 && !over;
  });
  return story.outcome(seed);
}

function show(rec: { holder: string; epoch: number; seq: number; wants?: string }): string {
  return `${rec.holder || 'free'} epoch ${rec.epoch} seq ${rec.seq}${rec.wants === undefined ? '' : ` wants ${rec.wants}`}`;
}
