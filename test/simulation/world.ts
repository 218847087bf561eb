/**
 * One simulated world from a seed: a machine, strays, innocents, a supervisor (and its successors), and a schedule of troubles
 * that ends. Then a worker has to live, alone.
 */
import { COMEBACK_WINDOW_MS } from '../../src/strays/policy.ts';
import type { Ending, Policy } from '../../src/supervisor/table.ts';
import { createChecker } from './check.ts';
import { createClock, runWorld } from './clock.ts';
import { randomProgram, type Surround, startInnocents, startStray, startSystem } from './lives.ts';
import { BOT_ID, type Body, createMachine, PROJECT } from './machine.ts';
import { createRandom, type Random } from './random.ts';
import type { Sim, SupervisorWorld, Timing } from './sim.ts';
import { createStory, type Outcome } from './story.ts';
import { startSimSupervisor } from './supervisor.ts';

function randomTiming(random: Random, leaseRandom: Random, waitRandom: Random): Timing {
  const backoffMinMs = random.pick([50, 100, 500, 1_000]);
  const policy: Policy = {
    restart: random.pick(['always', 'always', 'always', 'always', 'on-failure', 'never'] as const),
    backoffMinMs,
    backoffMaxMs: backoffMinMs * random.pick([1, 4, 30]),
    maxRestarts: random.pick([1, 3, 5, 10, 100]),
    maxRestartsPeriodMs: random.pick([2_000, 20_000, 300_000]),
    goodAfterMs: random.pick([1_000, 5_000]),
    readyWhenGood: leaseRandom.chance(0.5),
    lease: leaseRandom.chance(0.4),
    wait: waitRandom.chance(0.4),
  };
  return {
    policy,
    stopTimeoutMs: random.pick([100, 500, 1_500, 4_000]),
    onRival: leaseRandom.pick([null, null, 'yield', 'insist'] as const),
    incumbentAfterMs: leaseRandom.pick([2_000, 10_000]),
  };
}

export async function runSeed(seed: number): Promise<Outcome> {
  const random = createRandom(seed);
  const clock = createClock();
  const machine = createMachine(clock, random);
  machine.reuseChance = random.pick([0, 0, 0.5, 1]);
  const leaseRandom = createRandom(seed + 1_000_000);
  // A generator of its own, so that what does not depend on the Bot API stays as it is.
  const apiRandom = createRandom(seed + 2_000_000);
  const timing = randomTiming(random, leaseRandom, createRandom(seed + 4_000_000));
  const story = createStory(clock.now);
  const { say } = story;
  const check = createChecker(story, clock, machine, timing);
  const troubleMs = random.int(3_000, 40_000);
  const healed = () => clock.now() >= troubleMs;
  let sim: Sim | null = null;
  const shellPid = startSystem(machine);
  const around: Surround = { clock, random, machine, healed, shellPid };

  const world: SupervisorWorld = {
    ...{ ...around, leaseRandom, check, timing },
    nextRun: () => ++runs,
    planWorker: () => planWorker(around, failChance, apiRandom),
    firstWebhook,
    stepped,
    log: say,
    holder: () => sim,
    onHandedOver() {
      standby = sim;
      sim = null;
      say('* it stands by');
      if (handRandom.chance(0.8)) clock.after(handRandom.int(0, 900), begin);
      if (handRandom.chance(0.2)) clock.after(handRandom.int(0, 3_000), () => standby?.die());
    },
    onTakenBack(it) {
      sim = it;
    },
    onGone(gone) {
      if (standby === gone) standby = null;
      if (sim === gone) sim = null;
      if (story.violations.length > 0) return;
      // Somebody, a service manager or a waiting --takeover starts the next one.
      if (nextAtOnce) begin();
      else clock.after(healed() ? 500 : random.int(0, 8_000), begin);
      nextAtOnce = false;
    },
  };
  let nextAtOnce = false;
  /** It has handed over, and waits for what becomes of the newcomer. */
  let standby: Sim | null = null;
  // A generator of its own, so that what has no handover stays as it is.
  const handRandom = createRandom(seed + 3_000_000);
  let runs = 0;
  const failChance = random.pick([0, 0.07, 0.07, 0.5]);
  const nudges = random.pick([0, 0, 0.03, 0.15]);

  function begin(): void {
    if (sim) return;
    say('a supervisor starts');
    sim = startSimSupervisor(world);
  }

  /** Asks that come right after something else has happened, where the order matters most. */
  function stepped(at: Sim): void {
    if (timing.policy.lease && !healed() && leaseRandom.chance(0.03))
      clock.after(leaseRandom.pick([0, 0, 1, 60]), () => {
        if (!healed() && at.there) at.unlease();
      });
    if (!random.chance(nudges)) return;
    const what = random.pick(['restart', 'restart', 'stop', 'block', 'die'] as const);
    clock.after(random.pick([0, 0, 1, 20, 60]), () => {
      if (healed() || !at.there) return;
      say(`* ${what}`);
      if (what === 'restart') at.restart();
      else if (what === 'stop') at.stop('control');
      else if (what === 'die') at.die();
      else at.block({ code: 77, reason: 'token refused just then' });
    });
  }

  function firstWebhook(): { tookMs: number; ending: Ending | null } {
    const tookMs = random.pick([0, 5, 80, 1_500]);
    if (healed() || !random.chance(0.03)) return { tookMs, ending: null };
    const refused = { code: 77, reason: 'token refused' };
    const away = { code: 69, reason: 'out of reach' };
    return { tookMs, ending: random.pick([refused, away]) };
  }

  function trouble(fromMs: number, untilMs: number, text: string, act: () => void): void {
    clock.after(random.int(fromMs, untilMs), () => {
      if (healed()) return;
      say(`* ${text}`);
      act();
    });
  }

  startInnocents(around);
  const late = () => (random.chance(0.5) ? 0 : random.int(0, troubleMs));
  for (let i = random.pick([0, 1, 1, 2, 3]); i > 0; i--) {
    const program = randomProgram(i, around);
    const atMs = late();
    clock.after(atMs, () => {
      say(`* stray ${JSON.stringify(program)}`);
      startStray(program, around);
    });
    if (random.chance(0.3)) {
      clock.after(atMs + random.int(100, 20_000), () => {
        if (healed()) return;
        say(`* stray ${program.name} once more`);
        startStray(program, around);
      });
    }
  }
  clock.after(random.int(0, 5), begin);
  for (let i = random.pick([0, 0, 1, 2]); i > 0; i--) {
    trouble(0, troubleMs, 'supervisor killed', () => sim?.die());
  }
  for (let i = random.pick([0, 0, 1, 3]); i > 0; i--)
    trouble(0, troubleMs, 'restart asked', () => sim?.restart());
  for (let i = random.pick([0, 0, 1, 2]); i > 0; i--) {
    const handover = random.chance(0.3);
    const by = random.pick(['signal', 'control'] as const);
    const again = random.chance(0.3) ? random.int(0, 700) : null;
    trouble(0, troubleMs, `stop asked by ${by}${handover ? ', handover' : ''}`, () => {
      if (handover && sim) nextAtOnce = true;
      sim?.stop(by);
      if (again !== null) {
        const asked = sim;
        clock.after(again, () => {
          say('* stop asked again');
          if (asked?.there) asked.stop(by);
        });
      }
    });
  }
  for (let i = handRandom.pick([0, 0, 1, 2, 4]); i > 0; i--)
    clock.after(handRandom.int(0, troubleMs), () => {
      if (healed()) return;
      say('* a newcomer asks for the lock');
      sim?.handOver();
    });
  if (timing.policy.lease) {
    for (let i = leaseRandom.pick([0, 1, 2, 4]); i > 0; i--)
      clock.after(leaseRandom.int(0, troubleMs), () => {
        if (!healed()) sim?.unlease();
      });
  }
  if (random.chance(0.05)) {
    trouble(0, troubleMs, 'token refused', () =>
      sim?.block({ code: 77, reason: 'token refused while running' }),
    );
  }

  const look = () => {
    check.always();
    return story.violations.length === 0;
  };
  const run = (untilMs: number) => runWorld(clock, story, untilMs, look);
  await run(troubleMs);
  say('* the trouble ends');
  heal(machine.living());
  const boundMs = 4 * (timing.stopTimeoutMs + 6_000) + 1.2 * timing.policy.backoffMaxMs + 12_000;
  // Who stands by for a stray that comes back does so until a minute has passed without it.
  if (look() && standsBy()) await run(troubleMs + COMEBACK_WINDOW_MS);
  if (look()) await run(clock.now() + boundMs);
  // What was found late may have ended one supervisor more.
  if (look() && !works()) await run(clock.now() + boundMs);
  if (look()) demandWorker();

  /** Whatever could not be ended can be now; managers and runners start nothing any more. */
  function heal(bodies: readonly Body[]): void {
    for (const body of bodies) {
      if (body.denied || body.life.managed) machine.end(body, { code: 0, signal: null });
      body.killMs ??= 0;
      if (body.killed) machine.end(body, { code: null, signal: 'SIGKILL' });
    }
  }

  function standsBy(): boolean {
    return sim?.loop.state.phase === 'standby';
  }

  function works(): boolean {
    const worker = sim?.worker();
    return sim?.there === true && worker != null && worker.state !== 'Z';
  }

  function demandWorker(): void {
    if (!works()) {
      story.fail(
        `no worker ${boundMs} ms after the trouble ended (${sim?.loop.state.phase ?? 'no supervisor'})`,
      );
    }
    for (const body of machine.living()) {
      const { life } = body;
      if (life.kind === 'stray' && body.polls && !life.shy && !(sim && check.hasNamed(sim, life)))
        story.fail(`a stray still polls long after the trouble: pid ${body.pid} ${body.argv.join(' ')}`);
    }
  }

  return story.outcome(seed);
}

/** How the next worker will behave: at random in times of trouble, well afterwards. */
export function planWorker(around: Surround, failChance: number, apiRandom: Random) {
  const { random, machine, clock, healed } = around;
  const calm = healed();
  const lives = calm ? null : random.pick([null, null, 0, 30, 400, 3_000, 9_000]);
  const ended = random.pick([
    { code: 1, signal: null },
    { code: 0, signal: null },
    { code: 3, signal: null },
    { code: null, signal: 'SIGSEGV' },
  ]);
  const stubborn = random.chance(0.15);
  const children = calm ? 0 : random.pick([0, 0, 1, 2]);
  const fails = !calm && random.chance(failChance);
  return {
    /** 126 or 127: it can't be started. */
    failsWith: fails ? random.pick([126, 127]) : null,
    /** From its start to its end by itself; null: it stays. */
    livesMs: lives === null ? null : Math.max(1, Math.round(lives * (0.5 + random.next()))),
    ended,
    conflict: !calm && random.chance(0.25),
    /** It ends while the Bot API is in doubt: so long it is out of reach; 0: it is not. Null: nobody doubts it. */
    outMs: !calm && apiRandom.chance(0.2) ? apiRandom.pick([0, 0, 30, 2_000, 9_000]) : null,
    /** From its start to its first poll; null: its polls can't be seen. */
    pollsAfterMs: random.pick([null, 100, 2_000]),
    /** From its end to the moment in which the supervisor hears of it. */
    heardMs: random.pick([0, 0, 2, 50, fails ? 2_000 : 50]),
    /** How long its last words are waited for when it has ended by itself. */
    wordsMs: random.pick([0, 0, 3, 200]),
    termMs: stubborn ? null : random.pick([0, 5, 90]),
    killMs: !calm && random.chance(0.01) ? null : random.pick([0, 0, 3]),
    /** How it and its children take signals, what else it starts. */
    furnish(leader: Body) {
      for (let i = 0; i < children; i++) {
        const [delayMs, own, orphan, dies] = [
          random.pick([0, 0, 50, 1_000]),
          random.pick([undefined, undefined, 'session', 'group'] as const),
          random.chance(0.3),
          random.chance(0.5),
        ];
        const termMs = random.pick([0, 20, null]);
        const killMs = random.chance(0.02) ? null : random.pick([0, 2]);
        clock.after(delayMs, () => {
          if (leader.state === 'Z' || machine.bodies.get(leader.pid) !== leader || healed()) return;
          const child = machine.start({
            life: leader.life,
            ppid: orphan && own ? 1 : leader.pid,
            argv: ['node', `${PROJECT}/worker.js`, '--child'],
            env: { ...leader.env, bot: BOT_ID },
            ...{ cwd: PROJECT, termMs, killMs, polls: { everyMs: 1_000, onMs: 800, phaseMs: 1 } },
            ...(own ? { own } : {}),
          });
          if (!dies) return;
          const { onEnd } = leader;
          leader.onEnd = (how) => {
            onEnd?.(how);
            machine.end(child, { code: 0, signal: null });
          };
        });
      }
    },
  };
}
