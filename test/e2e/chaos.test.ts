// The rows of the chaos table (test/chaos), with the fast profile: all with Redis, the first ones with every engine.
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { type Cell, type Ran, runCells } from '../chaos/cells.ts';
import { ROWS } from '../chaos/rows/all.ts';
import { sentence } from '../chaos/table.ts';
import { yardProblem } from '../chaos/yard.ts';

const EVERYWHERE = ['1', '2', '3'];
/** Nearly all of a row is waiting. */
const JOBS = 8;

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

describe('several machines', { concurrency: true }, () => {
  const waiting = cells.map(() => deferred());

  before(async () => {
    const problem = await yardProblem();
    assert.equal(problem, '', problem);
    void runCells(cells, JOBS, (result, index) => waiting[index]!.resolve(result));
  });

  for (const [index, { row, engine }] of cells.entries()) {
    it(`${row}: ${ROWS.find(({ id }) => id === row)?.fault} (${engine})`, async () => {
      const result = await waiting[index]!.promise;
      assert.ok(result.ok, `${sentence(result)}\n${result.talk}`);
    });
  }
});
