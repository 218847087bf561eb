// One row with one engine, in a yard of its own: `cell.ts ROW ENGINE PROFILE FOLDER`. Its last line on stdout is the result as JSON.
import type { LeaseProfile } from '../../src/lease/timing.ts';
import type { EngineName } from '../support/engines.ts';
import type { Row } from './row.ts';
import { ROWS } from './rows/all.ts';
import { type Check, openScene, type Scene } from './scene.ts';
import type { Verdict } from './verdict.ts';

export interface CellResult {
  readonly row: string;
  readonly engine: EngineName;
  readonly profile: LeaseProfile;
  readonly verdict: Verdict | null;
  readonly figures: Record<string, number>;
  readonly checks: readonly Check[];
  readonly ok: boolean;
}

async function main(id: string, engine: EngineName, profile: LeaseProfile, dir: string): Promise<CellResult> {
  const row = ROWS.find((one) => one.id === id);
  if (!row) throw new Error(`no row ${id}`);
  const scene = await openScene(engine, profile, dir, row.setsClock);
  let verdict: Verdict | null = null;
  try {
    await row.run(scene);
    await scene.settle();
    verdict = scene.verdict();
    judge(row, scene, verdict);
  } catch (error) {
    scene.check('the row ran to its end', false, error instanceof Error ? error.stack : error);
    verdict = scene.verdict();
  }
  const ok = scene.checks.every((check) => check.ok);
  if (!ok) for (const line of scene.said()) process.stderr.write(`${line}\n`);
  return { row: id, engine, profile, verdict, figures: scene.figures, checks: scene.checks, ok };
}

function judge(row: Row, scene: Scene, verdict: Verdict): void {
  const { stale = 0, overlapMs = 0 } = row.limit ?? {};
  scene.check(
    `getUpdates overlap for ${overlapMs} ms at most`,
    verdict.overlapMs <= overlapMs,
    verdict.overlapMs,
  );
  scene.check(`${stale} stale getUpdates at most`, verdict.stale <= stale, verdict.stale);
  scene.check('no update is lost', verdict.lost === 0, `${verdict.lost} of ${verdict.updates}`);
  scene.check('updates came', verdict.updates > 10, verdict.updates);
  if (!row.workersMayOverlap)
    scene.check('never two workers at once', verdict.workerOverlapMs === 0, verdict.workerOverlapMs);
}

const [id = '', engine = '', profile = '', dir = ''] = process.argv.slice(2);
const result = await main(id, engine as EngineName, profile as LeaseProfile, dir);
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
