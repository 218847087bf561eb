// A bed whose program shares a real engine with other machines. The test is the other machines: it writes their records.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, type TestContext, test } from 'node:test';
import type { LeaseRecord } from '../../src/lease/store.ts';
import type { LeaseEntry, StatusDocument } from '../../src/supervisor/status.ts';
import { type Bed, bed, node } from './bed.ts';
import type { Running } from './cli.ts';
import { type Engine, type EngineName, openEngine, redisCommand, sql } from './engines.ts';
import { readProc } from './proc.ts';
import { queuedMs, until } from './wait.ts';

/** The times of `--lease-profile fast`, ms: the ttl, and when a holder that cannot renew shuts its door, after its last renewal. */
export const FAST = ['--lease-profile', 'fast', '--backoff', '10ms,50ms'];
export const FAST_TTL_MS = 6_000;
export const FAST_STOP_MS = 3_370;

export type LeaseBed = Awaited<ReturnType<typeof leaseBed>>;

/** An engine in which records can be written before any program has asked for one. */
export async function leaseEngine(name: EngineName): Promise<Engine> {
  const engine = await openEngine(name);
  // Elsewhere the place of a record needs no making.
  if (name === 'postgres')
    await sql(engine.port, 'CREATE TABLE singlepoll_lease (name text PRIMARY KEY, rec text NOT NULL)');
  return engine;
}

export async function leaseBed(t: TestContext, engine: Engine) {
  const b = await bed(t);
  const url = engine.url();
  const { botId } = b;
  const text = () => engine.peek(botId);
  /** Writes a record as another machine does: who watches is woken. `engine.put` wakes nobody. */
  const put = async (rec: LeaseRecord) => {
    await engine.put(botId, JSON.stringify(rec));
    // As every machine does that changes it there; etcd and Kubernetes tell of changes by themselves.
    if (engine.name === 'redis') await redisCommand(engine.port, 'PUBLISH', `singlepoll/${botId}`, 'x');
  };
  const fast = ['--lease', url, ...FAST];
  const polite = node('polite.mjs');
  /** A record that nobody holds: it may be taken at once. */
  const vacate = (epoch = unixSeconds()) => put({ v: 1, holder: '', epoch, seq: 1, ttl: FAST_TTL_MS });
  return Object.assign(b, {
    engine,
    url,
    /** `--lease URL` with the fast profile. */
    fast,
    ...{ text, put, vacate },
    async record() {
      const found = await text();
      return found === null ? null : (JSON.parse(found) as LeaseRecord);
    },
    /** Another machine takes the lease; `more` changes its record. */
    async another(more: Partial<LeaseRecord> = {}) {
      const other = otherMachine(put, more);
      t.after(other.crash);
      await other.renew();
      return other;
    },
    /** Starts with `polite.mjs` and waits until it stands by. */
    async standby(args: readonly string[] = [], command: readonly string[] = polite) {
      const run = b.cli(['start', ...fast, ...args, '--', ...command]);
      await run.waitFor(/standing by/i);
      return run;
    },
    /** Frees the record, starts with `polite.mjs` and waits until its worker polls. */
    async holding(args: readonly string[] = [], command: readonly string[] = polite) {
      await vacate();
      return await b.polling([...fast, ...args, '--', ...command]);
    },
  });
}

/** Cases of a file that share an engine; each has a bed of its own. */
export function leaseCases(name: EngineName) {
  let engine: Engine;
  before(async () => {
    engine = await openEngine(name);
  });
  after(() => engine?.close());
  return (title: string, play: (b: LeaseBed) => Promise<void>) =>
    void test(title, async (t) => play(await leaseBed(t, engine)));
}

/** Another machine that holds the lease, and writes its record as often as it is told. */
function otherMachine(put: (rec: LeaseRecord) => Promise<void>, more: Partial<LeaseRecord>) {
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<unknown> = Promise.resolve();
  const rec: LeaseRecord = {
    ...{ v: 1, holder: randomUUID(), epoch: unixSeconds(), seq: 100, ttl: FAST_TTL_MS },
    ...{ host: 'box-b.example', pid: 4711, since: new Date().toISOString(), lock: 'b'.repeat(32) },
    ...more,
  };
  const write = async (change: Partial<LeaseRecord>) => {
    Object.assign(rec, { seq: rec.seq + 1 }, change);
    const at = performance.now();
    writing = put(rec);
    await writing;
    return at;
  };
  /** Renews no more. */
  const crash = async () => {
    clearInterval(timer);
    await writing.catch(() => {});
  };
  return {
    name: rec.host ?? '',
    /** As `status` and messages show it. */
    shown: `${rec.host}:${rec.pid}`,
    rec,
    /** A renewal, at once; gives performance.now() from before it was written. */
    renew: () => write({}),
    /** Renews by itself from now on. */
    live(everyMs = 500) {
      clearInterval(timer);
      timer = setInterval(() => void write({}).catch(() => {}), everyMs);
    },
    crash,
    /** Lets go, as a machine does that stops. */
    async free() {
      await crash();
      return await write({ holder: '' });
    },
  };
}

export const unixSeconds = (): number => Math.floor(Date.now() / 1000);

/** The lease part of `status --json`, its shape checked. */
export function leaseOf({ lease }: StatusDocument): LeaseEntry {
  assert.ok(lease, 'status has a lease part');
  for (const key of ['engine', 'holder', 'mine', 'epoch', 'expiresAt']) assert.ok(key in lease, key);
  if (lease.holder !== null) assert.match(lease.holder, /^\S+:(\d+|\?)$/);
  if (lease.epoch !== null) assert.ok(Number.isSafeInteger(lease.epoch) && lease.epoch > 0);
  if (lease.expiresAt !== null) assert.match(lease.expiresAt, /^\d{4}-\d\d-\d\dT/);
  return lease;
}

/** Fixture workers of the name that have ever begun. */
export const workersOf = (b: Bed, name = 'polite.mjs') =>
  b.journal().filter((entry) => entry.ev === 'start' && entry.name === name);

/** Waits for the worker of `name` that begins as number `count`. */
export const workerNumber = (b: Bed, count: number, run: Running, name = 'polite.mjs') =>
  until(`worker number ${count}`, () => workersOf(b, name)[count - 1], { everyMs: 5, seen: run.seen });

/** Waits until the program has another state, by `status --json`. */
export function stateIs(b: Bed, state: StatusDocument['state'], run: Running): Promise<StatusDocument> {
  const look = async () => {
    const status = await b.status();
    return status.state === state ? status : null;
  };
  return until(`state ${state}`, look, run);
}

/** A clock for limits: it stands while the supervisor, or this process, which is the Bot API, waits for a CPU. */
export const clockOf = (run: Running): number => performance.now() - queuedMs([run.pid, process.pid]);

/** Waits for a worker to end; gives the moment by `clockOf`. */
export async function workerGone(pid: number | undefined, run: Running): Promise<number> {
  const isGone = () => 'ZX'.includes(readProc(pid ?? -1)?.state ?? 'X');
  await until('the worker to be gone', isGone, { everyMs: 2, seen: run.seen });
  return clockOf(run);
}

/** Right after a renewal, so that the deadlines can be told; gives performance.now() from before it. */
export async function justRenewed(b: LeaseBed): Promise<number> {
  const first = (await b.record())?.seq;
  let before = performance.now();
  const isRenewed = async () => {
    const at = performance.now();
    const renewed = (await b.record())?.seq !== first;
    if (!renewed) before = at;
    return renewed;
  };
  await until('a renewal', isRenewed, { everyMs: 5 });
  return before;
}
