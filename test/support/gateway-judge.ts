// The verdict after an attack on the gateway: the supervisor and its worker are the same as before, polling goes on,
// never two polls at the API, memory and descriptors bounded, status answers, the log is short and without tokens.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { RequestRecord } from '../../src/sandbox/log.ts';
import { type Bed, bed } from './bed.ts';
import { descriptors, watchMemory } from './gateway-process.ts';
import { assertNoControls, assertNoToken, handled } from './judge.ts';
import { alive } from './proc.ts';
import { type Gate, type RelayOptions, relay } from './relay.ts';
import { until } from './wait.ts';

export const ATTACK_MEMORY_MB = 96;
const LOG_BYTES_MAX = 50_000;
/** Kept-alive connections upstream may stay for a while. */
const DESCRIPTORS_MORE = 100;

const isPoll = (record: RequestRecord) => record.method.toLowerCase() === 'getupdates';

/** Pairs of getUpdates that were open at the API at the same time, from the clients' side; none, where one polls. */
export function overlaps(b: Bed): string[] {
  const polls = b.sandbox.requests().filter((record) => record.bot === b.botId && isPoll(record));
  const end = (record: RequestRecord) =>
    Math.min(record.endedAtMs ?? Number.POSITIVE_INFINITY, record.clientGoneAtMs ?? Number.POSITIVE_INFINITY);
  const name = (record: RequestRecord) =>
    `#${record.id} ${record.method} ${JSON.stringify(record.params)} ${record.startedAtMs.toFixed(0)}…${end(record).toFixed(0)}`;
  return polls.flatMap((one, index) =>
    polls
      .slice(index + 1)
      .filter((other) => one.startedAtMs < end(other) && other.startedAtMs < end(one))
      .map((other) => `${name(one)} and ${name(other)}`),
  );
}

/** Never two polls at the API, and so no 409 either, but for polls that were given up: theirs goes to nobody. */
export function assertSingleFlight(b: Bed): void {
  assert.deepEqual(overlaps(b), [], 'two polls at the API at once');
  const conflicts = b.sandbox
    .requests()
    .filter((record) => record.bot === b.botId && record.status === 409 && record.clientGoneAtMs === null);
  assert.deepEqual(conflicts, [], 'conflicts');
}

export interface Scene {
  readonly b: Bed;
  readonly gate: Gate;
  /** The worker serves an update that comes now, and status answers: to be asked in the middle of an attack. */
  wellNow(what: string): Promise<void>;
}

/** Starts the relay on the sandbox, lets `attack` loose on its gateway and judges. */
export async function attacked(
  t: TestContext,
  attack: (scene: Scene) => Promise<void>,
  options: RelayOptions & { memoryMb?: number } = {},
): Promise<void> {
  const b = await bed(t);
  const gate = await relay(b, options);
  const serves = async (what: string) => {
    const id = b.sandbox.text('served?');
    await until(`the worker to serve an update (${what})`, () => handled(b.journal()).has(id), {
      ms: 10_000,
      seen: gate.run.seen,
    });
  };
  const statusAnswers = async (what: string) => {
    const status = await until(
      `status to show the worker (${what})`,
      async () => {
        const answer = await b.run(['status', '--json'], { ms: 15_000 });
        assertNoToken(answer.stdout + answer.stderr, b.token);
        const shown = answer.stdout === '' ? null : JSON.parse(answer.stdout);
        return shown?.worker ? shown : null;
      },
      { ms: 40_000, everyMs: 300, seen: gate.run.seen },
    );
    assert.equal(status.supervisor?.pid, gate.run.pid, what);
    assert.equal(status.worker.pid, gate.told.pid, `${what}: the worker was replaced`);
  };
  const wellNow = async (what: string) => {
    await serves(what);
    await statusAnswers(what);
  };
  await wellNow('before the attack');
  const openBefore = descriptors(gate.pids);
  const grown = watchMemory(gate.pids);
  await attack({ b, gate, wellNow });
  const grownMb = grown();
  assert.equal(gate.run.ended(), null, `the supervisor ended\n${gate.run.seen()}`);
  assert.ok(alive(gate.told.pid), `the worker ended\n${gate.run.seen()}`);
  await wellNow('after the attack');
  assertSingleFlight(b);
  const limitMb = options.memoryMb ?? ATTACK_MEMORY_MB;
  assert.ok(grownMb < limitMb, `${grownMb.toFixed(1)} MB more memory at the peak, ${limitMb} allowed`);
  await until(
    'the connections of the attack to be let go',
    () => descriptors(gate.pids) < openBefore + DESCRIPTORS_MORE,
    {
      ms: 15_000,
      seen: () => `${descriptors(gate.pids)} descriptors, ${openBefore} before`,
    },
  );
  const log = gate.run.stderr();
  assert.ok(log.length < LOG_BYTES_MAX, `${log.length} bytes of log:\n${log.slice(0, 2000)}`);
  assert.doesNotMatch(log, /\n\s+at .*:\d+:\d+/, 'a stack trace');
  assertNoControls(log);
  assertNoToken(log + gate.run.stdout(), b.token);
}
