/**
 * One simulated `singlepoll start`: the real loop, table, sweeper, finder, grades, plans and ladder, joined to the simulated
 * machine. What is written here again is what `supervisor/run.ts`, `ahead.ts` and `watch.ts` do around them.
 */

import { createStrayFinder } from '../../src/strays/finder.ts';
import { createLoop, type WorkerEnd } from '../../src/supervisor/loop.ts';
import { createSweeper } from '../../src/supervisor/sweep.ts';
import type { Ending } from '../../src/supervisor/table.ts';
import { createWorkerTree } from '../../src/supervisor/worker-tree.ts';
import { handsOf, processesOf, witnessed } from './instruments.ts';
import { BOT_ID, type Body, type Ended, PROJECT } from './machine.ts';
import { createSimProver } from './prover.ts';
import { createSimRight } from './right.ts';
import type { Sim, SupervisorWorld } from './sim.ts';

/** As in hold.ts. */
const NEWCOMER_MS = 1_000;
const LOOK_MS = 200;
/** As in ahead.ts. */
const RIVAL_LOOK_MS = 5_000;
/** From a poll that another poller has taken away to the next one, which is watched. */
const NEXT_POLL_MS = [5, 60, 400, 2_500] as const;
/** How often it shows that somebody else polls, too: a back-off of theirs, or of ours. */
const CONFLICT_MS = [100, 3_000] as const;
const SIGN_OF_POLLING_MS = [1_000, 1_500, 2_500, 4_000];

export function startSimSupervisor(world: SupervisorWorld): Sim {
  const { clock, random, machine, check, timing } = world;
  const run = `run ${world.nextRun()}`;
  const life = machine.newLife({ kind: 'innocent', program: 'singlepoll' });
  const appear = () =>
    machine.start({
      life,
      // The code under test knows itself by the pid of this very process: who has handed over is not seen meanwhile.
      pid: process.pid,
      ppid: world.shellPid,
      argv: ['node', '/usr/lib/node_modules/singlepoll/bin/singlepoll.js', 'start'],
      env: { holdsToken: true },
      own: 'group',
      cwd: PROJECT,
    });
  let self: Body | null = appear();
  let isAsked = false;
  let there = true;
  let dead = false;
  /** Of the worker that ended last. */
  let outMs: number | null = null;
  let worker: { body: Body; spawn: number; gone: Promise<void> } | null = null;
  let killing = new AbortController();
  const halt = new AbortController();
  let isHunting = false;
  let isActing = false;
  let isDue = false;
  let firstPolledMs: number | null = null;

  const who = () => (worker ? { pid: worker.body.pid, run, spawn: String(worker.spawn) } : null);

  /** Whoever waits in a supervisor that was killed never goes on. */
  function pause(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const go = () => {
        signal?.removeEventListener('abort', go);
        cancel();
        if (dead) return;
        clock.stir();
        resolve();
      };
      const cancel = clock.after(signal?.aborted ? 0 : ms, go);
      signal?.addEventListener('abort', go);
    });
  }

  const instruments = { clock, random, machine, check, pause, sim: () => sim };
  const processes = processesOf(instruments);
  const finder = witnessed(
    createStrayFinder(BOT_ID, {
      processes,
      hands: handsOf('sweep', instruments),
      uid: 1000,
      async findRespawner(stray) {
        const { life: it } = machine.bodies.get(stray.pid) ?? {};
        if (random.chance(0.2)) await pause(random.int(1, 60));
        return it?.managed
          ? { kind: 'supervisord', name: it.program, stopCommand: 'supervisorctl stop x' }
          : null;
      },
    }),
    instruments,
  );
  const prover = createSimProver({
    ...instruments,
    healed: world.healed,
    isOurs: ({ life }) => life === worker?.body.life || life.program === 'singlepoll',
    isDead: () => dead,
  });
  const sweeper = createSweeper({
    finder,
    prover,
    onLate: reacted,
    former: () => tree.former(),
    mayHaveLeft() {
      tree.list(null);
      // The judge wants a look before each spawn, so it is taken also where the list shows that nothing is left.
      return true;
    },
    silencesOthers: false,
    leased: false,
    report: {
      line(_tag, text) {
        world.log(`  ${text}`);
        check.said(sim, text);
      },
      drained: async () => {},
    },
    stopTimeoutMs: timing.stopTimeoutMs,
    dryRun: false,
    worker: who,
    signal: halt.signal,
    nowMs: clock.now,
  });
  const marks = { run, botId: BOT_ID, apiRoot: null };
  const tree = createWorkerTree(marks, { processes, hands: handsOf('tree', instruments) });

  let webhookEnding: Ending | null = null;

  async function firstSweep(abandoned: AbortSignal): Promise<Ending | null> {
    const blocked = await firstWebhook(abandoned);
    if (blocked || abandoned.aborted) return blocked;
    const { ending, disturbed } = await sweeper.first(abandoned);
    return ending ?? (disturbed ? await firstWebhook(abandoned) : null);
  }

  async function firstWebhook(abandoned: AbortSignal): Promise<Ending | null> {
    const { tookMs, ending } = world.firstWebhook();
    await pause(tookMs, abandoned);
    if (abandoned.aborted) return null;
    webhookEnding = ending;
    return ending;
  }

  function laterSweep(abandoned: AbortSignal): Ending | null | Promise<Ending | null> {
    // A webhook was named in the last words: that is looked at first.
    return random.chance(0.1)
      ? pause(random.int(0, 400), abandoned).then(() => sweeper.quick(abandoned))
      : sweeper.quick(abandoned);
  }

  function spawn(number: number, exited: (end: WorkerEnd) => void): number | null {
    check.spawning(sim, number);
    const plan = world.planWorker();
    const tell = (ended: Ended) => {
      outMs = plan.outMs;
      const end = { ...ended, conflict: plan.conflict, apiInDoubt: outMs !== null, random: random.next() };
      check.exitHeard(sim, number, end);
      exited(end);
    };
    const failed = plan.failsWith;
    if (failed !== null) {
      check.stillborn(sim);
      clock.after(plan.heardMs, () => {
        if (!dead) tell({ code: failed, signal: null });
      });
      return null;
    }
    const body = machine.start({
      life: machine.newLife({ kind: 'worker', program: 'worker', run, spawn: number }),
      ppid: self?.pid ?? 1,
      argv: ['node', `${PROJECT}/worker.js`],
      env: { holdsToken: true, bot: BOT_ID, run, spawn: String(number) },
      ...{ cwd: PROJECT, own: 'session', termMs: plan.termMs, killMs: plan.killMs, reapedByUs: true },
      polls: plan.pollsAfterMs === null ? null : { everyMs: 1_000, onMs: 900, phaseMs: 0 },
    });
    let left!: () => void;
    const gone = new Promise<void>((resolve) => {
      left = resolve;
    });
    worker = { body, spawn: number, gone };
    tree.led(body.pid);
    check.spawned(sim, body);
    body.onEnd = (ended) => {
      if (dead) {
        machine.reap(body);
        return;
      }
      clock.after(plan.heardMs, () => {
        machine.reap(body);
        if (dead) return;
        worker = null;
        clock.after(ended.signal === null ? plan.wordsMs : 0, () => {
          if (dead) return;
          tell(ended);
          left();
          clock.stir();
        });
      });
      world.stepped(sim);
    };
    plan.furnish(body);
    if (plan.livesMs !== null) clock.after(plan.livesMs, () => machine.end(body, plan.ended));
    if (plan.pollsAfterMs !== null) signOfPolling(number, body, plan.pollsAfterMs, 0);
    return body.pid;
  }

  function signOfPolling(number: number, body: Body, pollsAfterMs: number, turn: number): void {
    const atMs = SIGN_OF_POLLING_MS[turn];
    if (atMs === undefined) return;
    clock.after(atMs - (SIGN_OF_POLLING_MS[turn - 1] ?? 0), () => {
      const { state } = loop;
      if (dead || state.spawn !== number || state.phase !== 'starting') return;
      if (atMs < pollsAfterMs || body.state === 'Z')
        return signOfPolling(number, body, pollsAfterMs, turn + 1);
      check.polled(sim, number);
      loop.send({ kind: 'polled' });
    });
  }

  async function stopTree(done: (survivors: number) => void): Promise<void> {
    killing = new AbortController();
    const present = worker;
    clock.stir();
    const { stopTimeoutMs } = timing;
    const result = await tree.stop(present?.body.pid ?? null, { stopTimeoutMs, now: killing.signal });
    if (present && result.survivors.length === 0) await present.gone;
    done(result.survivors.length);
  }

  const broken = (error: unknown) => check.broken(sim, error);

  const right = timing.policy.lease
    ? createSimRight({
        ...{ clock, random: world.leaseRandom, healed: world.healed, log: world.log },
        graceMs: timing.stopTimeoutMs / 2,
        onWon: () => check.leased(sim),
        onUnleased(reason, killByMs) {
          check.unleased(sim, killByMs);
          loop.send({ kind: 'unleased', reason });
          clock.stir();
        },
        onKill() {
          killing.abort();
          clock.stir();
        },
        onReleased: () => check.released(sim),
      })
    : null;
  const vanish = (how: Ended) => {
    if (self) machine.end(self, how);
    self = null;
  };

  /** As in run.ts. */
  function seek(won: () => void): void {
    const { question } = loop.state;
    const seekRight = async () => {
      const { abandoned, state } = loop;
      if (state.obstacle) {
        check.waits();
        do await pause(RIVAL_LOOK_MS, abandoned);
        while (!abandoned.aborted && (await sweeper.isBlocked(abandoned)));
        if (abandoned.aborted || dead) return;
        check.seesPlaceFree(sim);
      }
      if (right) right.seek(() => dead || won());
      else won();
    };
    const look = () => {
      if (dead || loop.state.question !== question) return;
      const newcomer = world.holder();
      if (newcomer?.loop.state.phase === 'polling') return sim.stop('control');
      if (newcomer) return void clock.after(LOOK_MS, look);
      self = appear();
      check.takenBack(sim);
      world.onTakenBack(sim);
      void seekRight().catch(broken);
    };
    if (self) void seekRight().catch(broken);
    else clock.after(NEWCOMER_MS, look);
  }

  /** As in hold.ts. */
  function handOver(): void {
    if (!isAsked || !self) return;
    isAsked = false;
    check.handedOver(sim);
    vanish({ code: 0, signal: null });
    world.onHandedOver();
  }

  let sweeping: Promise<void> | null = null;

  /** As in ahead.ts. */
  function sweep(first: boolean, abandoned: AbortSignal, done: (blocked: Ending | null) => void): void {
    const begin = () => (first ? firstSweep(abandoned) : laterSweep(abandoned));
    check.sweepBegan(sim, first);
    const { question } = loop.state;
    const answer = sweeping ? sweeping.then(begin) : begin();
    clock.stir();
    if (!(answer instanceof Promise) && !right?.settled()) {
      check.sweepEnded(sim);
      return void done(answer);
    }
    const mine = Promise.resolve(answer)
      .then((swept) => settle(swept, abandoned))
      .then((blocked) => {
        if (dead) return;
        if (sweeping === mine) sweeping = null;
        // One that comes too late decides nothing; the next term's finds it again.
        if (blocked && blocked === webhookEnding && loop.state.question === question)
          check.blocked(sim, blocked);
        check.sweepEnded(sim);
        done(blocked);
      })
      .catch(broken);
    sweeping = mine;
  }

  async function settle(swept: Ending | null, abandoned: AbortSignal): Promise<Ending | null> {
    let blocked = swept;
    for (let doubt = right?.settled(); doubt && !blocked && !abandoned.aborted; doubt = right?.settled()) {
      await doubt;
      blocked = await sweeper.quick(abandoned);
    }
    return blocked;
  }

  const loop = createLoop(
    timing.policy,
    {
      now: clock.now,
      seek,
      release() {
        right?.release();
        handOver();
      },
      sweep,
      probe(abandoned, done) {
        const forMs = outMs ?? 0;
        clock.after(forMs + random.int(0, 20), () => {
          if (dead || abandoned.aborted) return;
          check.probed(sim, forMs > 0);
          done(forMs > 0);
        });
      },
      spawn,
      stopTree: (done) => void stopTree(done).catch(broken),
      killTree() {
        killing.abort();
        clock.stir();
      },
      say: (saying) => world.log(`  says ${JSON.stringify(saying)}`),
      timer: (atMs, due) =>
        clock.after(atMs - clock.now(), () => {
          if (!dead) due();
        }),
      exit(code, reason, clean) {
        check.exited(sim, code, reason, clean);
        right?.end();
        clock.after(random.int(0, 20), () => {
          if (dead) return;
          there = false;
          vanish({ code, signal: null });
          world.onGone(sim);
        });
      },
      broken,
    },
    (state) => {
      if (state.headed?.to === 'exit') halt.abort();
      world.log(`${loop.history().at(-1)} → ${state.phase}`);
      check.stepped(sim, loop.history().at(-1)!);
      world.stepped(sim);
      if (state.phase === 'polling') firstPolledMs ??= clock.now();
      if (state.phase !== 'starting' || state.pid === null || state.spawn === seenSpawn) return;
      seenSpawn = state.spawn;
      if (state.spawn > 1) sweeper.leftovers(loop.abandoned).catch(broken);
    },
  );
  let seenSpawn = 0;

  const alive = () => !dead && ['starting', 'polling'].includes(loop.state.phase);

  /** As in watch.ts. */
  function reacted(): void {
    isDue = true;
    if (isActing) return;
    isActing = true;
    act()
      .catch(broken)
      .finally(() => {
        isActing = false;
      });
  }

  async function act(): Promise<void> {
    while (isDue && alive()) {
      isDue = false;
      clock.stir();
      const ending = await sweeper.again(loop.abandoned);
      if (ending && alive()) giveWay(ending);
    }
  }

  /** As in watch.ts. */
  function giveWay(ending: Ending): void {
    const { onRival, incumbentAfterMs } = timing;
    const isIncumbent = firstPolledMs !== null && clock.now() - firstPolledMs >= incumbentAfterMs;
    const insists = onRival === null ? isIncumbent : onRival === 'insist';
    check.rivalNamed(sim, ending, !insists);
    if (!insists) loop.send({ kind: 'blocked', ending });
  }

  /** A poll of the worker's is taken away where somebody else polls, too: then the next one is watched. */
  function meetConflicts(): void {
    if (dead || loop.state.phase === 'exited') return;
    if (alive() && !isHunting && prover.isDisturbed()) {
      isHunting = true;
      clock.after(random.pick(NEXT_POLL_MS), () => {
        isHunting = false;
        if (alive()) prover.hunt(reacted);
      });
    }
    clock.after(random.int(...CONFLICT_MS), meetConflicts);
  }

  const sim: Sim = {
    run,
    loop,
    get there() {
      return there;
    },
    worker: () => worker?.body ?? null,
    mayPoll: () => right?.valid() ?? true,
    unlease() {
      if (there) right?.trouble();
    },
    stop(by) {
      if (!there) return;
      check.stopAsked(sim);
      loop.send({ kind: 'ask-stop', reason: by });
      clock.stir();
    },
    handOver() {
      if (!there || !self) return;
      isAsked = true;
      check.restartAsked(sim);
      loop.send({ kind: 'ask-handover', reason: 'to a newcomer' });
      clock.stir();
    },
    restart() {
      if (!there) return;
      check.restartAsked(sim);
      loop.send({ kind: 'ask-restart', reason: 'asked' });
    },
    block(ending) {
      if (!there) return;
      check.blocked(sim, ending);
      loop.send({ kind: 'blocked', ending });
    },
    die() {
      if (!there) return;
      dead = true;
      there = false;
      right?.end();
      const group = worker?.body.pid ?? null;
      vanish({ code: null, signal: 'SIGKILL' });
      // A zombie that nobody reaps is reaped by init.
      for (const body of [...machine.bodies.values()]) if (body.state === 'Z') machine.reap(body);
      if (group !== null) afterDeath(group);
      world.onGone(sim);
    },
  };

  /** The guard, which may have been ended as well. */
  function afterDeath(leader: number): void {
    const kill = (body: Body) => {
      try {
        machine.signal(body.pid, 'SIGKILL');
      } catch {
        // Another user's, or gone.
      }
    };
    if (random.chance(0.3)) return;
    clock.after(random.int(0, 30), () => {
      for (const it of machine.living()) if (it.pgid === leader && it.env.run === run) kill(it);
    });
  }

  check.began(sim);
  loop.send({ kind: 'booted' });
  clock.after(random.int(...CONFLICT_MS), meetConflicts);
  return sim;
}
