/**
 * One simulated gateway from a seed: a worker of several processes and loops, Telegram's server, a network between them, and a
 * schedule of troubles that ends. Then all updates have to come through. Judged at every step (door-judge.ts).
 * `npm run simulate -- door`, `npm run simulate -- door --seed 17`.
 */
import { DOOR_POLICY, type DoorPolicy } from '../../src/gateway/door.ts';
import type { RivalryPolicy } from '../../src/gateway/rivals.ts';
import { createClock, planner, runWorld } from './clock.ts';
import { createSimGateway, type Weather } from './door-gateway.ts';
import { createDoorJudge } from './door-judge.ts';
import { startRival } from './door-rival.ts';
import { createTelegram } from './door-telegram.ts';
import { createWatch } from './door-watch.ts';
import { createWatchJudge } from './door-watch-judge.ts';
import { type Habits, randomHabits, type SimProcess, startProcess, type WorkerWorld } from './door-worker.ts';
import { createRandom, type Random } from './random.ts';
import { createStory, type Outcome } from './story.ts';

/** Which troubles a world knows. */
function randomTraits(random: Random) {
  const quiet = random.chance(0.25);
  const may = (probability: number) => !quiet && random.chance(probability);
  return {
    kills: may(0.35),
    stops: may(0.3),
    restarts: may(0.25),
    sleeps: random.chance(0.25),
    weather: random.chance(0.5),
    rivals: random.chance(0.3),
    webhooks: random.chance(0.2),
    slow: may(0.3),
    abandons: may(0.15),
    ends: random.chance(0.3),
  };
}

/** After the last trouble: an owner that idles, a poll that hangs, the longest pauses, and some more. */
const HEALED_WITHIN_MS = 150_000;
/** Handlers that take longer than an owner may idle make the processes take turns. */
const SLOW_MS = 300_000;
const STOP_TIMEOUT_MS = 4_000;

export async function runSeed(seed: number): Promise<Outcome> {
  const random = createRandom(seed);
  const clock = createClock();
  const traits = randomTraits(random);
  const pidsKnown = random.chance(0.85);
  const policy: DoorPolicy = { ...DOOR_POLICY, ownerIdleMs: random.pick([5_000, 10_000, 30_000, 30_000]) };
  const rivalryPolicy: RivalryPolicy = {
    rivalAfterMs: random.pick([6_000, 20_000, 90_000]),
    incumbentAfterMs: random.pick([4_000, 13_000, 60_000]),
    onRival: random.pick([null, null, 'yield', 'insist'] as const),
  };
  const deafAfterMs = random.pick([20_000, 60_000, 180_000]) + (traits.slow ? 45_000 : 0);
  const story = createStory(clock.now);
  const { say } = story;
  const judge = createDoorJudge(story, clock, policy, pidsKnown);
  const troubleMs = random.int(20_000, 120_000);
  const healed = () => clock.now() >= troubleMs;

  let weather: Weather = 'fine';
  let processes: SimProcess[] = [];
  let spawn = 0;
  let rivals = 0;
  let lastPid = 100;
  let lastPoll = 0;
  let lastConnection = 0;
  let ending = false;
  let finished = false;
  /** Somebody may see an update twice: it died, stood still, or is more than one loop in one process. */
  let orderly = pidsKnown;
  const added: number[] = [];
  const handledBy = new Map<number, SimProcess[]>();
  const forRivals = new Set<number>();

  const isLost = (id: number) => !handledBy.has(id) && !forRivals.has(id);
  const telegram = createTelegram(clock, (id, from) => {
    if (isLost(id)) story.fail(`update ${id} is confirmed by ${from}, and nobody had it`);
  });
  const watched = { clock, policy: rivalryPolicy, deafAfterMs };
  const watchJudge = createWatchJudge({
    ...{ ...watched, story },
    workerLives: () => processes.some(({ alive }) => alive),
  });
  const watch = createWatch({
    ...{ ...watched, judge: watchJudge, log: say },
    awake: () => !gateway.asleep,
    flightOpenMs: () => gateway.flightOpenMs,
    onDeaf() {
      orderly = false;
      if (!ending) respawn();
    },
  });
  const slowAborts = random.chance(0.2);
  const gateway = createSimGateway({
    ...{ clock, random, telegram, policy, story, judge, pidsKnown, watch },
    abortMs: () => (slowAborts && random.chance(0.5) ? random.int(500, 8_000) : random.int(0, 20)),
    weather: () => weather,
    log: say,
  });

  const workerWorld: WorkerWorld = {
    ...{ clock, random },
    ask(ask) {
      if (!ask.process.alive) return;
      const reply: typeof ask.reply = (answer) => void clock.after(random.int(0, 3), () => ask.reply(answer));
      clock.after(random.int(0, 3), () => gateway.ask({ ...ask, reply }));
    },
    closed: (connection) => void clock.after(random.int(3, 30), () => gateway.closed(connection)),
    nextPoll: () => ++lastPoll,
    nextConnection: () => ++lastConnection,
    handled(process, id) {
      say(`pid ${process.pid} handles update ${id}`);
      const before = handledBy.get(id) ?? [];
      handledBy.set(id, [...before, process]);
      if (before.length === 0) return;
      story.count('handled again');
      if (orderly) story.fail(`pid ${process.pid} handles update ${id}, which pid ${before[0]!.pid} had`);
    },
  };

  const program: Habits[][] = Array.from({ length: random.pick([1, 1, 1, 2, 2, 3, 4]) }, () =>
    Array.from({ length: random.pick([1, 1, 1, 1, 1, 2, 3]) }, () => randomHabits(random, traits)),
  );
  // The same program in each, as gunicorn has it.
  const habits = random.chance(0.7) ? program.map(() => program[0]!) : program;
  for (const loop of habits.flat())
    if (loop.abandons || loop.handlerMs >= policy.ownerIdleMs) orderly = false;
  if (habits.some((loops) => loops.length > 1)) orderly = false;
  // One that waits long after an error has stopped polling meanwhile.
  for (const loop of habits.flat())
    if (loop.pauseMs + loop.errorWaitMs + 500 >= policy.ownerIdleMs) orderly = false;

  function begin(): void {
    spawn += 1;
    gateway.next();
    watch.spawned();
    say(`worker ${spawn} starts: ${habits.length} processes`);
    processes = habits.map((loops) => startProcess(workerWorld, ++lastPid, loops));
  }

  function respawn(): void {
    const mine = spawn;
    say('the whole worker is killed');
    for (const process of processes) process.die();
    watch.ended();
    orderly = false;
    clock.after(random.int(20, 4_000), () => {
      if (!ending && spawn === mine) whenAwake(begin);
    });
  }

  function whenAwake(todo: () => void): void {
    if (gateway.asleep) clock.after(50, () => whenAwake(todo));
    else todo();
  }

  function killOne(): void {
    const victim = random.pick(processes);
    if (!victim.alive) return;
    say(`pid ${victim.pid} is killed`);
    orderly = false;
    victim.die();
    const index = processes.indexOf(victim);
    const mine = spawn;
    clock.after(random.int(5, 3_000), () => {
      if (ending || spawn !== mine || !processes.some(({ alive }) => alive)) return;
      processes[index] = startProcess(workerWorld, ++lastPid, habits[index]!);
      say(`pid ${lastPid} comes in its place`);
    });
    // Its leader is dead when all are.
    if (processes.every(({ alive }) => !alive)) respawn();
  }

  function stopOne(): void {
    const victim = random.pick(processes);
    if (!victim.alive || victim.stopped) return;
    const forMs = random.int(100, random.chance(0.5) ? 8_000 : 70_000);
    say(`pid ${victim.pid} is stopped for ${forMs} ms`);
    orderly = false;
    victim.pause(true);
    clock.after(Math.max(100, Math.min(forMs, troubleMs - clock.now())), () => {
      say(`pid ${victim.pid} goes on`);
      victim.pause(false);
    });
  }

  function sleep(): void {
    if (gateway.asleep) return;
    const forMs = Math.min(random.int(100, random.chance(0.5) ? 4_000 : 60_000), troubleMs - clock.now());
    if (forMs < 100) return;
    say(`the supervisor is stopped for ${forMs} ms`);
    gateway.sleep();
    clock.after(forMs, () => {
      say('the supervisor goes on');
      judge.slept(forMs);
      watchJudge.woken();
      watch.slept(forMs);
      gateway.wake();
    });
  }

  function changeWeather(): void {
    if (weather !== 'fine') return;
    weather = random.pick(['slow', 'bad-gateway', 'reset', 'hang', 'flood', 'refused'] as const);
    // An error of the API is the worker's own business: it waits as it likes.
    if (weather === 'refused') orderly &&= habits.flat().every(({ errorWaitMs }) => errorWaitMs < 1_000);
    say(`weather: ${weather}`);
    clock.after(Math.min(random.int(100, 40_000), Math.max(1, troubleMs - clock.now())), () => {
      weather = 'fine';
      say('weather: fine');
    });
  }

  function setWebhook(): void {
    if (telegram.webhook) return;
    say('somebody sets a webhook');
    telegram.setWebhook(true);
    clock.after(random.int(200, 6_000), () => {
      telegram.setWebhook(false);
      say('the webhook is cleared');
      if (random.chance(0.8)) gateway.cleared();
    });
  }

  function rival(): void {
    const forMs = Math.min(random.int(500, 60_000), troubleMs - clock.now());
    if (forMs < 500) return;
    say(`a rival for ${forMs} ms`);
    watchJudge.rivals(++rivals);
    startRival({ clock, random, telegram }, forMs, {
      handled: (id) => void forRivals.add(id),
      ended: () => {
        say('the rival is gone');
        watchJudge.rivals(--rivals);
      },
    });
  }

  function addUpdate(): void {
    const id = telegram.add();
    added.push(id);
    say(`update ${id}`);
  }

  const plan = planner(clock, random, () => healed() || ending);
  plan(true, random.pick([500, 4_000, 15_000]), addUpdate);
  plan(traits.kills, random.pick([4_000, 20_000]), killOne);
  plan(traits.stops, random.pick([5_000, 30_000]), stopOne);
  plan(traits.restarts, random.pick([8_000, 40_000]), respawn);
  plan(traits.sleeps, random.pick([8_000, 40_000]), sleep);
  plan(traits.weather, random.pick([2_000, 15_000, 40_000]), changeWeather);
  plan(traits.rivals, random.pick([10_000, 60_000]), rival);
  plan(traits.webhooks, random.pick([6_000, 40_000]), setWebhook);
  begin();

  /** A planned stop: the door stays open until the worker is gone, then it is shut. */
  function end(): void {
    if (ending) return;
    ending = true;
    say('the worker is asked to end');
    gateway.release();
    for (const process of processes) {
      process.end(() => {
        say(`pid ${process.pid} has ended`);
        if (processes.every(({ alive }) => !alive)) watch.ended();
      });
    }
    clock.after(STOP_TIMEOUT_MS, () => {
      for (const process of processes) process.die();
      watch.ended();
      whenAwake(() => {
        gateway.shut();
        say('the door is shut');
        clock.after(60_000, () => {
          finished = true;
        });
      });
    });
  }

  if (traits.ends) clock.after(random.int(1_000, troubleMs), () => whenAwake(end));
  let lastMs = Number.POSITIVE_INFINITY;
  clock.after(troubleMs, () => {
    if (ending) return;
    say('all is well');
    if (telegram.webhook) telegram.setWebhook(false);
    for (let i = 0; i < 3; i++) clock.after(random.int(100, 5_000), addUpdate);
    clock.after(5_001, () => {
      lastMs = clock.now();
    });
  });

  await runWorld(clock, story, troubleMs + HEALED_WITHIN_MS + (traits.slow ? SLOW_MS : 0), () => {
    judge.always(gateway.asleep);
    watchJudge.always(watch.rivalry, gateway.openPolls, gateway.asleep);
    if (clock.now() >= lastMs && telegram.queue.length === 0) finished = true;
    return !finished && story.violations.length === 0;
  });

  if (story.violations.length === 0 && !ending) {
    story.count('lived to the end');
    if (telegram.queue.length > 0) story.fail(`updates ${telegram.queue} are not confirmed in the end`);
    if (orderly) story.count(habits.length > 1 ? 'exactly once, by several processes' : 'exactly once');
  }
  const queue = new Set(telegram.queue);
  for (const id of added) if (isLost(id) && !queue.has(id)) story.fail(`update ${id} is lost`);
  return story.outcome(seed);
}
