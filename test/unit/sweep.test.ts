/** The sweep with a finder that is told what to find: what it joins, what it remembers, when it stops stopping. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stray, StrayFinder, StrayStop, Survey } from '../../src/strays/finder.ts';
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

function stopOf(strays: readonly Stray[], targets: StrayStop['targets'] = strays): StrayStop {
  return { targets, survivors: [], denied: [], killed: 0, tookMs: 1, gone: strays, left: [] };
}

/** `there` is what a look finds; a stop takes those that it stopped out of it. */
function sweeperOn(there: Stray[], stop?: (strays: readonly Stray[]) => Promise<StrayStop>, dryRun = false) {
  const lines: string[] = [];
  const stops: number[][] = [];
  const halt = new AbortController();
  const finder: StrayFinder = {
    look: async () => survey(...there),
    quickLook: () => survey(...there),
    async stop(strays) {
      stops.push(strays.map(({ pid }) => pid));
      const result = await (stop?.(strays) ?? stopOf(strays));
      const left = there.filter(({ pid }) => !strays.some((it) => it.pid === pid));
      there.splice(0, there.length, ...left);
      return result;
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
    signal: halt.signal,
    nowMs: () => 0,
  });
  return { sweeper, lines, stops, halt, there };
}

const NEVER = new AbortController().signal;

test('a stray that had left before the first signal was not stopped: no life of it is counted', async () => {
  const { sweeper, lines, there } = sweeperOn([stray(10)], async (strays) =>
    stopOf(strays, strays[0]!.pid === 10 ? [] : undefined),
  );
  assert.equal(await sweeper.again(NEVER), null);
  assert.ok(lines.includes('gone already, by itself'), lines.join('\n'));
  for (const pid of [11, 12]) {
    there.push(stray(pid));
    assert.equal(await sweeper.again(NEVER), null, `pid ${pid}`);
  }
  there.push(stray(13));
  assert.equal((await sweeper.again(NEVER))?.code, 75);
});

test('a dry run lists a tree once, however many of its processes are guilty', async () => {
  const tree = [10, 11].map((pid) => ({ ...stray(pid), ppid: 1, cookie: null }));
  const there = [{ ...stray(10), tree }, { ...stray(11), tree }, stray(20)];
  const { sweeper, lines, stops } = sweeperOn(there, undefined, true);
  await sweeper.first(NEVER);
  assert.deepEqual(stops, []);
  const told = lines.flatMap((line) => line.match(/^(would stop| {2}with it:) pid \d+/)?.[0] ?? []);
  assert.deepEqual(told, ['would stop pid 10', '  with it: pid 11', 'would stop pid 20']);
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
