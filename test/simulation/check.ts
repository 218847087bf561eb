/**
 * The judge of the simulation: knows the truth about every process, hears of every signal, look, spawn and exit, and holds
 * what was done against what must hold (truth.ts, restarts.ts). Takes nothing from the code under test.
 */
import type { WorkerEnd } from '../../src/supervisor/loop.ts';
import type { Ending } from '../../src/supervisor/table.ts';
import type { Clock } from './clock.ts';
import type { Body, Life, Machine } from './machine.ts';
import type { Sim, Timing } from './sim.ts';
import type { Story } from './story.ts';
import {
  type Book,
  comesBack,
  isDeclared,
  isNewcomer,
  isProven,
  mayStay,
  namesGuilty,
  openBook,
  wrongExit,
} from './truth.ts';

export type Checker = ReturnType<typeof createChecker>;

/** From SIGKILL to giving up, as in strays/stop and strays/finder. */
const KILL_WAIT_MS = 5_000;
const SLACK_MS = 1_000;
/** A look is fresh enough to spawn after it; before the first worker the webhook is looked at once more. */
const FRESH_MS = 500;
const FIRST_FRESH_MS = 2_100;
/** How long others than our own leftovers may hold up a respawn: a webhook, a look that is given up. */
const RESPAWN_MS = 700;
const RESPAWN_WITH_LEASE_MS = 4_000;
/** From a reaction to the first signal because of it. */
const ACT_MS = 2_000;
/** Who reacts is asked for this long before the first worker. */
const ASK_MS = 9_800;
/** From the kill of a worker whose lease is lost to the end of the last of its children. */
const UNLEASED_MS = 300;

export function createChecker({ fail, count }: Story, clock: Clock, machine: Machine, timing: Timing) {
  const books = new Map<Sim, Book>();
  /** The one that holds the lock. */
  let live: Sim | null = null;

  const of = (sim: Sim) => books.get(sim)!;
  const isGuilty = (book: Book, body: Body) =>
    body.life.kind === 'stray' && (isDeclared(body) || isProven(body, book.pokes.get(body)));
  const isThere = (body: Body) => body.state !== 'Z' && machine.bodies.get(body.pid) === body;
  const show = (body: Body) =>
    `pid ${body.pid} (${body.argv.join(' ')}, ${body.life.kind} "${body.life.program}")`;

  const boundMs = () => 3 * timing.stopTimeoutMs + (machine.saw.survivor ? 3 * KILL_WAIT_MS : 0) + 3_000;

  /** By the sweep; the worker's own stop has its own rules. */
  function sweepSignalled(sim: Sim, body: Body, signal: string): void {
    const book = of(sim);
    const { life } = body;
    const { phase } = sim.loop.state;
    const isRunning = phase === 'starting' || phase === 'polling';
    if (phase !== 'sweeping' && !isRunning) fail(`the sweep sends ${signal} to ${show(body)} while ${phase}`);
    if (life.kind === 'worker') {
      book.stoppedOwn = true;
      if (sim.worker()?.life === life) fail(`the sweep sends ${signal} to the present worker: ${show(body)}`);
      return;
    }
    if (!book.guilty.has(life)) fail(`${signal} without proof to ${show(body)}`);
    if (phase === 'sweeping' && !book.sweepsFirst)
      fail(`a respawn waits for a stray: ${signal} to ${show(body)}`);
    if (isRunning && clock.now() - book.reactedMs > ACT_MS + boundMs())
      fail(`${signal} beside the worker, and nobody has reacted: ${show(body)}`);
    if (life.managed) fail(`${signal} to a stray that a manager keeps alive: ${show(body)}`);
    // The signal is refused: it ends by itself, if at all.
    if (body.denied) return;
    // It has survived an earlier stop that was given up.
    const isAgain = book.stopped.has(life);
    if (isAgain && book.stoppedIn.get(life) !== book.stopNumber) book.stopped.set(life, clock.now());
    book.stoppedIn.set(life, book.stopNumber);
    if (isAgain) return;
    if (comesBack(life, book, clock.now(), machine.living()))
      fail(`a stray that comes back is fought: ${show(body)}`);
    book.stopped.set(life, clock.now());
    // What survives SIGKILL has not been ended by us, however it ends later.
    if (body.orphan || mayStay(body)) book.remains.add(life);
    count('strays stopped');
    if (isRunning) count('strays stopped beside a worker');
  }

  /** Of our own, and nobody else's to stop: does the supervisor know what it needs to see it? */
  function showsInStatLines(book: Book, { startId, sid, pgid }: Body): boolean {
    return book.inspected.has(startId) || sid === book.leaderPid || pgid === book.leaderPid;
  }

  /** While a worker runs: what an earlier one has left goes soon, and so does whoever was seen to poll. */
  function besideTheWorker(sim: Sim, book: Book): void {
    const { phase } = sim.loop.state;
    if ((phase !== 'starting' && phase !== 'polling') || !sim.worker()) return;
    const nowMs = clock.now();
    const isLate = nowMs - book.spawnMs > boundMs();
    if (!isLate && book.owed.size === 0) return;
    for (const body of machine.living()) {
      const { life } = body;
      if (mayStay(body) || life.bornMs > nowMs - boundMs()) continue;
      if (isLate && life.kind === 'worker' && life !== sim.worker()?.life && !body.orphan)
        fail(`a leftover of an earlier worker lives ${nowMs - book.spawnMs} ms after a spawn: ${show(body)}`);
      const sinceMs = book.owed.get(body);
      if (sinceMs !== undefined && !body.orphan && nowMs - sinceMs > boundMs())
        fail(
          `a stray lives ${nowMs - sinceMs} ms after somebody reacted, neither gone nor named: ${show(body)}`,
        );
    }
  }

  return {
    began(sim: Sim) {
      live = sim;
      books.set(sim, openBook(timing.policy));
    },
    /** Details of these processes (their start ids) are known to it from now on. */
    inspected(sim: Sim, startIds: ReadonlySet<string>) {
      for (const startId of startIds) of(sim).inspected.add(startId);
    },
    /** A look that began at `atMs` has shown these (their start ids) as ones to stop. */
    looked(sim: Sim, what: 'all' | 'stat lines', stoppable: ReadonlySet<string>, atMs: number) {
      count('looks');
      const book = of(sim);
      book.lookMs = atMs;
      // Who has ended since was shown all the same.
      const strays = [...machine.everybody()].filter(
        (body) => body.life.kind === 'stray' && (stoppable.has(body.startId) || isThere(body)),
      );
      // Whoever runs the same program as a proven one, with our token, shares its verdict.
      const proven = new Set([...book.guilty.keys()].map(({ program }) => program));
      for (const body of strays) {
        const { life, startId, env } = body;
        const isShown = stoppable.has(startId);
        if (isDeclared(body) || (isShown && env.holdsToken && proven.has(life.program)))
          if (!book.guilty.has(life)) book.guilty.set(life, atMs);
        if (isShown) book.seen.add(life);
        if (what === 'stat lines') continue;
        if (isShown || (isProven(body, book.pokes.get(body)) && book.guilty.get(life)! <= atMs))
          book.shown.add(body);
      }
    },
    /** It is about to ask getUpdates, where somebody is connected. */
    asked(sim: Sim) {
      of(sim).askedMs = clock.now();
    },
    /** It can't see who takes the poll away from it. */
    blinded(sim: Sim) {
      of(sim).blinded = true;
    },
    /** This process received something when we polled. */
    reacted(sim: Sim, body: Body, poke: number, isConflict: boolean) {
      const book = of(sim);
      book.reactedMs = clock.now();
      if (!isConflict || body.life.kind !== 'stray') return;
      count('reactions');
      const pokes = book.pokes.get(body) ?? new Set();
      book.pokes.set(body, pokes.add(poke));
      if (isProven(body, book.pokes.get(body)) && !book.guilty.has(body.life)) {
        book.guilty.set(body.life, clock.now());
        book.convictedMs = clock.now();
      }
      const { phase } = sim.loop.state;
      if (phase !== 'starting' && phase !== 'polling') return;
      for (const it of machine.living())
        if (isGuilty(book, it) && !book.named.has(it.life) && !book.owed.has(it))
          book.owed.set(it, clock.now());
    },
    stopBegan(sim: Sim) {
      of(sim).stops += 1;
      of(sim).stopNumber += 1;
      if (of(sim).stops > 1) fail('strays are stopped while strays are being stopped');
    },
    /** Of these, by their start ids. */
    stopEnded(sim: Sim, startIds: ReadonlySet<string>) {
      of(sim).lastStop = startIds;
      of(sim).stops -= 1;
      of(sim).stoppedMs = clock.now();
    },
    signalled(sim: Sim, by: 'sweep' | 'tree', body: Body, signal: string) {
      count(signal);
      const { life } = body;
      const { phase } = sim.loop.state;
      if (of(sim).exitMs !== null) return fail(`${signal} to ${show(body)} after the exit`);
      if (body.state === 'Z') return fail(`${signal} to a zombie: ${show(body)}`);
      if (life.kind === 'innocent') return fail(`${signal} to an innocent: ${show(body)}`);
      if (by === 'sweep') return sweepSignalled(sim, body, signal);
      if (life.run !== sim.run) fail(`the worker's stop sends ${signal} to ${show(body)}`);
      if (phase !== 'stopping') fail(`${signal} to ${show(body)} while ${phase}`);
    },
    sweepBegan(sim: Sim, first: boolean) {
      // A look of a sweep that a handover broke off binds nobody: a copy that it showed is proven by the one that polls, as long as that lives.
      if (first) of(sim).shown.clear();
      Object.assign(of(sim), { sweepBeganMs: clock.now(), sweepsFirst: first, stoppedOwn: false });
    },
    sweepEnded(sim: Sim) {
      const book = of(sim);
      const tookMs = clock.now() - book.sweepBeganMs;
      book.sweptMs += tookMs;
      const mostMs = timing.policy.lease ? RESPAWN_WITH_LEASE_MS : RESPAWN_MS;
      if (!book.sweepsFirst && !book.stoppedOwn && tookMs > mostMs)
        fail(`a respawn was held up for ${tookMs} ms, and not by a leftover of ours`);
    },
    spawning(sim: Sim, spawn: number) {
      count('spawns');
      const book = of(sim);
      const nowMs = clock.now();
      if (sim !== live || !sim.there) fail('a spawn by a supervisor without the lock');
      if (book.exitMs !== null) fail('a spawn after the exit');
      if (book.stopAskedMs !== null) fail('a spawn after a stop was asked');
      if (book.endings.length > 0) fail(`a spawn after it was blocked: ${book.endings[0]!.reason}`);
      if (spawn !== book.spawns + 1) fail(`spawn ${spawn} after spawn ${book.spawns}`);
      if (sim.worker()) fail('a spawn while a worker lives');
      if (timing.policy.lease && !(book.leased && sim.mayPoll())) fail('a spawn without the lease');
      const { isFirst } = book;
      if (nowMs - book.lookMs > (isFirst ? FIRST_FRESH_MS : FRESH_MS))
        fail(`a spawn ${nowMs - book.lookMs} ms after the last look`);
      for (const body of machine.living()) {
        const { life } = body;
        if (life.kind === 'worker' && life.bornMs <= book.lookMs && (isFirst || showsInStatLines(book, body)))
          fail(`a spawn while a leftover lives: ${show(body)}`);
        if (!isFirst || life.kind !== 'stray') continue;
        if (book.shown.has(body)) fail(`a first worker beside a stray that a look has shown: ${show(body)}`);
      }
      const mayAsk = book.stoppedMs - book.sweepBeganMs < ASK_MS && book.convictedMs >= book.sweepBeganMs;
      if (isFirst && book.stoppedMs > book.askedMs && mayAsk)
        fail('a first worker, and after the last stop nobody was asked again');
      if (isFirst) count('first spawns');
      book.isFirst = false;
      book.spawnMs = nowMs;
      book.owed.clear();
      const wrong = book.restarts.spawned(nowMs, book.sweptMs);
      if (wrong) fail(`a spawn ${wrong}`);
      book.spawns = spawn;
    },
    spawned(sim: Sim, leader: Body) {
      of(sim).leaderPid = leader.pid;
    },
    stillborn(sim: Sim) {
      of(sim).restarts.stillborn();
    },
    polled(sim: Sim, spawn: number) {
      const book = of(sim);
      if (book.spawns !== spawn) return;
      book.restarts.polled();
    },
    exitHeard(sim: Sim, spawn: number, end: WorkerEnd) {
      const book = of(sim);
      if (spawn !== book.spawns || !book.restarts.ended(clock.now(), end)) return;
      count('unplanned exits');
      if (book.restarts.ends?.reason === 'crash loop') count('crash loops');
      book.sweptMs = 0;
    },
    /** The Bot API answers, after an outage or not. */
    probed(sim: Sim, wasOut: boolean) {
      const book = of(sim);
      count(wasOut ? 'exits in an outage' : 'exits in doubt');
      book.restarts.probed(clock.now(), wasOut);
      if (book.restarts.ends?.reason === 'crash loop') count('crash loops');
      book.sweptMs = 0;
    },
    stopAsked(sim: Sim) {
      const book = of(sim);
      if (book.exitMs !== null) return;
      book.restarts.asked(clock.now());
      if (book.stopAskedMs === null) book.stopAskedMs = clock.now();
      else book.secondAskMs ??= clock.now();
    },
    restartAsked(sim: Sim) {
      of(sim).restarts.asked(clock.now());
    },
    leased(sim: Sim) {
      count('leases');
      const book = of(sim);
      if (book.leased) fail('the lease is sought while it is held');
      book.leased = true;
      book.isFirst = true;
      book.killByMs = null;
      book.restarts.leased();
    },
    /** Null: asked for, and still ours. */
    unleased(sim: Sim, killByMs: number | null) {
      count(killByMs === null ? 'leases asked for' : 'leases lost');
      const book = of(sim);
      book.restarts.asked(clock.now());
      if (killByMs === null) return;
      book.leased = false;
      book.killByMs = killByMs;
    },
    released(sim: Sim) {
      const book = of(sim);
      book.leased = false;
      book.killByMs = null;
      const left = machine.living().filter(({ life }) => life.run === sim.run);
      for (const body of left) fail(`the lease is given back while ${show(body)} lives`);
    },
    handedOver(sim: Sim) {
      count('handovers');
      const left = machine.living().find(({ life }) => life.run === sim.run);
      if (left) fail(`the lock is handed over while ${show(left)} lives`);
      live = null;
    },
    takenBack(sim: Sim) {
      count('taken back');
      if (live?.there) fail('the lock is taken back while another has it');
      live = sim;
      of(sim).isFirst = true;
      of(sim).restarts.leased();
    },
    /** It stands by for another poller. */
    waits() {
      count('waits for a rival');
      if (!timing.policy.wait) fail('it waits for a rival, and was not asked to');
    },
    seesPlaceFree(sim: Sim) {
      count('places taken');
      const book = of(sim);
      book.isFirst = true;
      book.restarts.leased();
      const isNamed = (it: Body) => book.named.has(it.life) && isProven(it, book.pokes.get(it));
      const rival = machine.living().find((it) => (it.life.managed || it.denied) && isNamed(it));
      if (rival) fail(`takes the place of ${show(rival)}, which it has named and which lives`);
    },
    /** A reason to end that came from outside. */
    blocked(sim: Sim, ending: Ending) {
      const book = of(sim);
      book.restarts.asked(clock.now());
      if (book.exitMs === null) book.endings.push(ending);
    },
    /** A local rival was named that can't be stopped; whether this run gives way to it. */
    rivalNamed(sim: Sim, ending: Ending, yields: boolean) {
      count(yields ? 'yields' : 'insists');
      const book = of(sim);
      if (yields) book.restarts.asked(clock.now());
      if (yields !== isNewcomer(timing, book, clock.now()))
        fail(yields ? `an incumbent yields: ${ending.reason}` : `a newcomer insists: ${ending.reason}`);
      if (namesGuilty(ending.reason, book, machine).length === 0)
        fail(`gives way to nobody who polls: ${ending.reason}`);
    },
    /** It told the user this. */
    said(sim: Sim, text: string) {
      const { lastStop } = of(sim);
      const stopped = machine.everybody().filter(({ startId }) => lastStop.has(startId));
      const lives = new Set(stopped.map((it) => it.life).filter((life) => life.kind === 'stray'));
      const left =
        /; nothing is left$/.test(text) &&
        machine.living().find((it) => lastStop.has(it.startId) || (lives.has(it.life) && !it.orphan));
      if (left) fail(`says "${text}", and ${show(left)} lives`);
      if (!/may not be stopped|survived SIGKILL|is kept alive by|comes back after/.test(text)) return;
      const book = of(sim);
      for (const life of namesGuilty(text, book, machine)) {
        book.named.add(life);
        for (const body of book.owed.keys()) if (body.life === life) book.owed.delete(body);
      }
    },
    hasNamed: (sim: Sim, life: Life): boolean => of(sim).named.has(life),
    exited(sim: Sim, code: number, reason: string, clean: boolean) {
      count(`exit ${code}`);
      const book = of(sim);
      if (book.exitMs !== null) fail('a second exit');
      book.exitMs = clock.now();
      const left = machine.living().filter(({ life }) => life.run === sim.run);
      for (const body of left) if (!mayStay(body)) fail(`exit ${code} (${reason}) leaves ${show(body)}`);
      if (code !== 75 && left.length > 0)
        fail(`exit ${code} (${reason}) although something of the worker survived`);
      if (clean && left.length > 0) fail(`exit ${code} (${reason}) gives the lease back too early`);
      if (!clean && left.length === 0) fail(`exit ${code} (${reason}) keeps the lease, and nothing is left`);
      if (timing.policy.wait && left.length === 0 && /a stray poller|without a working ss/.test(reason))
        fail(`exit ${code} (${reason}) although it was asked to wait`);
      const wrong = wrongExit({ code, reason }, book, machine, clock.now(), left.length > 0);
      if (wrong) fail(`exit ${code} (${reason}): ${wrong}`);
    },
    stepped(sim: Sim, cell: string) {
      count(cell);
      const { phase } = sim.loop.state;
      if (phase !== 'starting' && phase !== 'polling') of(sim).owed.clear();
      if (phase === 'standby' && of(sim).leased) fail('it stands by and keeps the lease');
      if (phase === 'polling') of(sim).polledMs ??= clock.now();
      const worker = sim.worker();
      if (worker && !mayStay(worker) && (phase === 'backoff' || phase === 'exited'))
        fail(`the worker lives while ${phase}`);
    },
    broken(_sim: Sim, error: unknown) {
      fail(`an invariant broke: ${error instanceof Error ? error.stack : String(error)}`);
    },
    /** After every event. */
    always() {
      if (!live?.there) return;
      const { run } = live;
      const book = of(live);
      const leaders = machine.living().filter(({ life, reapedByUs }) => reapedByUs && life.run === run);
      if (leaders.length > 1) fail(`${leaders.length} workers live`);
      besideTheWorker(live, book);
      const { killByMs } = book;
      if (killByMs !== null && clock.now() > killByMs + UNLEASED_MS) {
        const left = machine.living().find(({ life: it }) => it.kind === 'worker' && it.run === run);
        if (left && !mayStay(left)) fail(`the lease is lost, and ${show(left)} lives`);
      }
      if (book.exitMs !== null || book.stopAskedMs === null) return;
      const sinceMs = clock.now() - book.stopAskedMs;
      const stuckMs = machine.saw.survivor ? 2 * KILL_WAIT_MS : 0;
      if (sinceMs > timing.stopTimeoutMs + stuckMs + SLACK_MS)
        fail(`no exit ${sinceMs} ms after a stop was asked`);
      if (book.secondAskMs !== null && clock.now() - book.secondAskMs > stuckMs + SLACK_MS)
        fail('no exit after the second ask to stop');
    },
  };
}
