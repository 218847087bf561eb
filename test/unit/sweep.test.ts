/** The sweep with a finder that is told what to find: what it joins, what it remembers, when it stops stopping. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stray, StrayFinder, Survey } from '../../src/strays/finder.ts';
import { NO_EVIDENCE } from '../../src/strays/grade.ts';
import { sumUp } from '../../src/strays/processes.ts';
import { createSweeper } from '../../src/supervisor/sweep.ts';

function stray(pid: number): Stray {
  return {
    ...{ pid, startId: String(pid), user: 'bot', command: 'python3 old.py', cwd: '/srv', startedAt: null },
    ...{ grade: 'proven', proof: ['token in environment', 'connected to api root'] },
    ...{ respawner: null, parent: null, tree: [], silences: [], holdsToken: false, supervisor: null },
  };
}

const uninspectable = sumUp([]);
const survey = (...strays: readonly Stray[]): Survey => ({ strays, uninspectable, present: strays });

const NEVER = new AbortController().signal;

/** `there` is what a look finds. */
function sweeperOn(there: Stray[], dryRun = false, more: Partial<Parameters<typeof createSweeper>[0]> = {}) {
  const lines: string[] = [];
  const stops: number[][] = [];
  const finder: StrayFinder = {
    look: async () => survey(...there),
    quickLook: () => survey(...there),
    async stop(strays): Promise<never> {
      stops.push(strays.map(({ pid }) => pid));
      return assert.fail('nobody is to be stopped');
    },
  };
  const sweeper = createSweeper({
    finder,
    report: { line: (_tag, text) => void lines.push(text), drained: async () => {} },
    stopTimeoutMs: 1_000,
    dryRun,
    prover: null,
    silencesOthers: false,
    leased: false,
    worker: () => null,
    signal: NEVER,
    nowMs: () => 0,
    ...more,
  });
  return { sweeper, lines, stops };
}

for (const [dryRun, verb] of [
  [true, 'would stop'],
  [false, 'stopping'],
] as const)
  test(`${verb}: each process of a tree is listed once, however many of them are guilty`, async () => {
    const tree = [10, 11, 12].map((pid) => ({ ...stray(pid), ppid: 1, cookie: null }));
    const there = [
      { ...stray(11), tree: tree.slice(1) },
      { ...stray(10), tree },
      { ...stray(12), tree },
      stray(20),
    ];
    const { sweeper, lines, stops } = sweeperOn(there, dryRun);
    await sweeper.first(NEVER).catch(() => {});
    assert.deepEqual(stops, dryRun ? [] : [[11, 10, 12, 20]]);
    const told = lines.flatMap(
      (line) => line.match(/^(would stop|stopping| {2}with it:) pid \d+/)?.[0] ?? [],
    );
    assert.deepEqual(told, [`${verb} pid 11`, '  with it: pid 12', `${verb} pid 10`, `${verb} pid 20`]);
  });

test('after somebody was left alone the first look does not end with: no other poller', async () => {
  const doubtful: Stray = { ...stray(10), grade: 'likely', proof: ['holds the token', 'connected'] };
  const { sweeper, lines, stops } = sweeperOn([doubtful]);
  await sweeper.first(NEVER);
  assert.deepEqual(stops, []);
  assert.match(lines[0] ?? '', /^left alone: pid 10 /);
  assert.deepEqual(lines.slice(1), ['no other poller of this bot is proven on this machine']);
  const alone = sweeperOn([]);
  await alone.sweeper.first(NEVER);
  assert.deepEqual(alone.lines, ['no other poller of this bot on this machine']);
});

test('one that can not be seen, and was proven: told once, waited for as long as anybody is connected, asked again after minutes', async () => {
  const unseen = { uid: 0, cgroup: '/', isProven: true };
  let connected = 1;
  let nowMs = 0;
  const prover = {
    look: async () => connected,
    experiment: async () => ({ kind: 'convicted' as const }),
    evidence: () => NO_EVIDENCE,
    unseen: () => [unseen],
  };
  const { sweeper, lines } = sweeperOn([], false, {
    prover,
    nowMs: () => nowMs,
  });
  const { ending } = await sweeper.first(NEVER);
  assert.deepEqual([ending?.code, ending?.isRival], [77, true]);
  assert.equal(lines.at(-1), ending?.reason);
  assert.equal(await sweeper.isBlocked(NEVER), true);
  connected = 0;
  assert.equal(await sweeper.isBlocked(NEVER), false, 'nobody is there');
  assert.equal((await sweeper.first(NEVER)).ending, null, 'that it reacted once is over');
  connected = 1;
  nowMs = 10 * 60_000;
  assert.equal(await sweeper.isBlocked(NEVER), false, 'only asking can tell now');
});

test('a stop that is given up, as the worker ends meanwhile, says that it is left to the next look', async () => {
  const gone = new AbortController();
  const { pid, startId } = stray(10);
  const it = { ...stray(10), grade: 'own' as const };
  const { sweeper, lines } = sweeperOn([it], false, {
    finder: {
      look: async () => survey(it),
      quickLook: () => survey(it),
      async stop() {
        gone.abort();
        const rest = { denied: [], killed: 0, tookMs: 1, gone: [] };
        return { targets: [{ pid, startId }], survivors: [{ pid, startId }], left: [it], ...rest };
      },
    },
  });
  await sweeper.leftovers(gone.signal);
  assert.deepEqual(lines.slice(-1), ['left to the next look: 1 process had not ended yet']);
});
