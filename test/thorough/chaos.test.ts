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

const isSlow = ({ ok, checks }: Ran): boolean => !ok && checks.every((check) => check.ok || check.speed);

describe('several machines', () => {
  let results: Ran[] = [];

  before(async () => {
    const problem = await yardProblem();
    assert.equal(problem, '', problem);
    results = await runCells(cells, JOBS, () => {});
    // The times are promised to a machine that has nothing else to do than one row. All that concerns safety was judged beside others.
    for (const [index, result] of results.entries())
      if (isSlow(result)) results[index] = await runCell(cells[index]!);
  });

  for (const [index, { row, engine }] of cells.entries())
    it(`${row}: ${ROWS.find(({ id }) => id === row)?.fault} (${engine})`, () => {
      const result = results[index]!;
      assert.ok(result.ok, `${sentence(result)}\n${result.talk}`);
    });
});
