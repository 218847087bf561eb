/**
 * The gateway without its sockets: performs what the door decides (as src/gateway/polls.ts does), over a network with delays
 * and troubles, and tells the judge everything.
 */
import {
  createDoorLoop,
  type DoorEffect,
  type DoorPolicy,
  heldPolls,
  type Poll,
  type PollResult,
} from '../../src/gateway/door.ts';
import type { Clock } from './clock.ts';
import type { DoorJudge } from './door-judge.ts';
import type { Reply, Telegram } from './door-telegram.ts';
import type { DoorWatch } from './door-watch.ts';
import type { Ask, SimProcess } from './door-worker.ts';
import type { Random } from './random.ts';
import type { Story } from './story.ts';

/** What lies between the gateway and the Bot API at the moment. */
export type Weather = 'fine' | 'slow' | 'bad-gateway' | 'reset' | 'hang' | 'flood' | 'refused';

interface GatewayWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly telegram: Telegram;
  readonly policy: DoorPolicy;
  readonly story: Story;
  readonly judge: DoorJudge;
  readonly watch: DoorWatch;
  /** The system tells which process is at the other end of a connection. */
  readonly pidsKnown: boolean;
  /** Until the connection of a flight that was given up is closed. */
  readonly abortMs: () => number;
  readonly weather: () => Weather;
  log(text: string): void;
}

export type SimGateway = ReturnType<typeof createSimGateway>;

/** As in gateway.ts. */
const DEATH_LOOKS_MS = [0, 20, 100, 500, 2_000];

export function createSimGateway(world: GatewayWorld) {
  const { clock, random, telegram, policy, story, judge, watch } = world;
  const asks = new Map<number, Ask>();
  const pollers = new Map<number, number | null>();
  const processes = new Map<number, SimProcess>();
  const flights = new Map<number, { readonly begunMs: number; abort(): void }>();
  const answers = new Map<number, { readonly ids: readonly number[] } | 'error'>();
  let asleep = false;
  let missed: { readonly isTimer: boolean; readonly todo: () => void }[] = [];

  /** By the supervisor's process: not while it is stopped. */
  function act(todo: () => void, isTimer = false): void {
    if (asleep) missed.push({ isTimer, todo });
    else todo();
  }

  const loop = createDoorLoop(
    { now: clock.now, timer: (atMs, due) => arm(atMs - clock.now(), due), perform, stepped: judge.stepped },
    policy,
  );
  const { send } = loop;

  function perform(effect: DoorEffect): void {
    switch (effect.do) {
      case 'send':
        return void takeOff(effect);
      case 'abort':
        world.log(`abort flight ${effect.attempt}`);
        return void flights.get(effect.attempt)?.abort();
      case 'pass': {
        const ask = take(effect.poll);
        const answer = answers.get(effect.attempt);
        if (!ask || !answer) return;
        world.log(`pass ${answer === 'error' ? 'an error' : `[${answer.ids}]`} to ${name(ask)}`);
        ask.reply(answer);
        if (answer !== 'error') watch.completed();
        return void watch.answered();
      }
      case 'empty': {
        const ask = take(effect.poll);
        if (!ask) return;
        world.log(`empty (${effect.why}) to ${name(ask)}`);
        ask.reply({ ids: [] });
        if (effect.why === 'overdue') watch.outage();
        return void watch.answered();
      }
      case 'accepted':
        return void watch.accepted(false);
      case 'held':
        return void world.log(
          `${asks.has(effect.poll.id) ? name(asks.get(effect.poll.id)!) : effect.poll.id} is held beside ${loop.door.owner?.poller}`,
        );
    }
  }

  /** A timer is never early, and sometimes late. */
  function arm(ms: number, due: () => void): () => void {
    let cancelled = false;
    const ring = () => {
      if (!cancelled) due();
    };
    const cancel = clock.after(Math.ceil(ms) + (random.chance(0.1) ? random.int(1, 20) : 0), () =>
      act(ring, true),
    );
    return () => {
      cancelled = true;
      cancel();
    };
  }

  function take(poll: Poll): Ask | null {
    const ask = asks.get(poll.id) ?? null;
    asks.delete(poll.id);
    return ask;
  }

  function takeOff({ attempt, poll, timeoutMs }: Extract<DoorEffect, { do: 'send' }>): void {
    const ask = asks.get(poll.id)!;
    const begunMs = clock.now();
    const weather = world.weather();
    let over = false;
    let aborted = false;
    world.log(`flight ${attempt} for ${name(ask)}: offset ${ask.offset}, timeout ${timeoutMs}`);

    /** The connection has ended, or brought an answer. */
    function land(result: PollResult, ids: readonly number[] = []): void {
      if (over) return;
      over = true;
      act(() => {
        flights.delete(attempt);
        world.log(`flight ${attempt} lands: ${result.kind}`);
        const livedMs = clock.now() - begunMs;
        if (result.kind === 'updates') watch.accepted(true);
        else if (result.kind === 'conflict') watch.conflict(livedMs);
        else if (result.kind === 'webhook') watch.webhook();
        else if (result.kind === 'outage' && !aborted) watch.outage();
        answers.set(attempt, result.kind === 'verdict' ? 'error' : { ids });
        send({ kind: 'ended', attempt, result, random: random.next() });
        answers.delete(attempt);
      });
    }

    const receive = (answer: (reply: Reply) => void) =>
      telegram.receive({ from: `poll ${poll.id}`, offset: ask.offset, timeoutMs, answer });

    flights.set(attempt, {
      begunMs,
      abort() {
        aborted = true;
        // Until then its answer may still come in.
        clock.after(world.abortMs(), () => land({ kind: 'outage' }));
      },
    });
    clock.after(random.int(1, 30), () => {
      // Given up before it went out.
      if (over) return;
      const backMs = weather === 'slow' ? random.int(100, 2_500) : random.int(1, 30);
      const failed = (result: PollResult) => clock.after(backMs, () => land(result));
      switch (weather) {
        case 'fine':
        case 'slow':
          receive((reply) => {
            clock.after(backMs, () => {
              if (reply.kind === 'updates') land({ kind: 'updates' }, reply.ids);
              else land({ kind: reply.kind });
            });
          });
          return;
        case 'flood':
          return void failed({ kind: 'flood', retryAfterMs: random.int(0, 12) * 1_000 });
        case 'refused':
          return void failed({ kind: 'verdict' });
        case 'hang':
          if (random.chance(0.5)) receive(() => {});
          return;
        default:
          // It may have been carried out, or not.
          if (random.chance(0.5)) receive(() => {});
          failed({ kind: 'outage' });
      }
    });
  }

  function left(connection: number): void {
    const poller = pollers.get(connection);
    pollers.delete(connection);
    if (poller === undefined) return;
    for (const [id, ask] of asks) {
      if (ask.connection !== connection) continue;
      asks.delete(id);
      watch.answered();
    }
    send({ kind: 'closed', connection });
    for (const ms of DEATH_LOOKS_MS) if (poller !== null) clock.after(ms, () => act(() => seeDeath(poller)));
  }

  function seeDeath(poller: number): void {
    const process = processes.get(poller);
    if (!process || process.alive) return;
    processes.delete(poller);
    send({ kind: 'gone', poller });
  }

  function name(ask: Ask): string {
    return `poll ${ask.id} (pid ${ask.process.pid} loop ${ask.loop} connection ${ask.connection})`;
  }

  return {
    get asleep() {
      return asleep;
    },
    get flightOpenMs() {
      const begunMs = [...flights.values()][0]?.begunMs;
      return begunMs === undefined ? 0 : clock.now() - begunMs;
    },
    get openPolls() {
      return asks.size;
    },
    ask(ask: Ask) {
      act(() => {
        const poller = world.pidsKnown ? ask.process.pid : null;
        if (!pollers.has(ask.connection)) {
          pollers.set(ask.connection, poller);
          if (poller !== null) processes.set(poller, ask.process);
        }
        asks.set(ask.id, ask);
        watch.asked();
        const { id, connection, timeoutMs } = ask;
        const poll: Poll = { id, poller, connection, askedAtMs: clock.now(), timeoutMs };
        judge.asked(poll, ask);
        send({ kind: 'asked', poll });
      });
    },
    closed: (connection: number) => act(() => left(connection)),
    /** Before a worker is spawned. */
    next() {
      for (const connection of [...pollers.keys()]) left(connection);
      const { owner } = loop.door;
      if (owner) send({ kind: 'gone', poller: owner.poller });
      processes.clear();
      send({ kind: 'opened' });
      if (heldPolls(loop.door).length > 0) story.fail('polls of an earlier worker are held');
    },
    release: () => act(() => send({ kind: 'released' })),
    shut: () => act(() => send({ kind: 'shut' })),
    cleared: () => act(() => send({ kind: 'cleared' })),
    /** SIGSTOP and SIGCONT of the supervisor. */
    sleep() {
      asleep = true;
    },
    wake() {
      asleep = false;
      const todo = missed;
      missed = [];
      // What the sockets have brought is seen before the timers, or after them.
      const timersFirst = random.chance(0.5);
      for (const each of todo) if (each.isTimer === timersFirst) each.todo();
      for (const each of todo) if (each.isTimer !== timersFirst) each.todo();
    },
  };
}
