// The rows of the chaos table (test/chaos), with the fast profile: all with Redis, the first ones with every engine.
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { type Cell, type Ran, runCell, runCells, sentence } from '../chaos/cells.ts';
import { ROWS } from '../chaos/rows/all.ts';
import { yardProblem } from '../chaos/yard.ts';

const EVERYWHERE = ['1', '2', '3'];
const JOBS = Number(process.env.SP_TEST_AT_ONCE ?? 6);

const cells: Cell[] = [
  ...ROWS.map(({ id, engines }) => ({
    row: id,
    engine: engines?.[0] ?? ('redis' as const),
    profile: 'fast' as const,
  })),
  ...(['postgres', 'etcd', 'kubernetes'] as const).flatMap((engine) =>
    EVERYWHERE.map((row) => ({ row, engine, profile: 'fast' as const })),
  ),
];

function deferred() {
  let resolve!: (result: Ran) => void;
  const promise = new Promise<Ran>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

const isSlow = ({ ok, checks }: Ran): boolean => !ok && checks.every((check) => check.ok || check.speed);

describe('several machines', () => {
  const waiting = cells.map(() => deferred());

  before(async () => {
    const problem = await yardProblem();
    assert.equal(problem, '', problem);
    const slow: number[] = [];
    const all = runCells(cells, JOBS, (result, index) => {
      if (isSlow(result)) slow.push(index);
      else waiting[index]!.resolve(result);
    });
    void all.then(again);

    // The times are promised to a machine that has nothing else to do than one row. All that concerns safety was judged beside others.
    async function again(): Promise<void> {
      for (const index of slow) waiting[index]!.resolve(await runCell(cells[index]!));
    }
  });

  for (const [index, { row, engine }] of cells.entries()) {
    it(`${row}: ${ROWS.find(({ id }) => id === row)?.fault} (${engine})`, async () => {
      const result = await waiting[index]!.promise;
      assert.ok(result.ok, `${sentence(result)}\n${result.talk}`);
    });
  }
});
