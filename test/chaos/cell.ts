// What runs inside a yard: `cell.ts ROW ENGINE PROFILE FOLDER`, one row with one engine. Its last line on stdout is the result as JSON.
import type { LeaseProfile } from '../../src/lease/timing.ts';
import type { EngineName } from '../support/engines.ts';
import type { Row } from './row.ts';
import { ROWS } from './rows/all.ts';
import { openScene, type Scene } from './scene.ts';
import type { Verdict } from './verdict.ts';

export type CellResult = Awaited<ReturnType<typeof runRow>>;

async function runRow(dir: string, id: string, engine: EngineName, profile: LeaseProfile) {
  const row = ROWS.find((one) => one.id === id);
  if (!row) throw new Error(`no row ${id}`);
  const scene = await openScene(engine, profile, dir, row.setsClock);
  try {
    await row.run(scene);
    await scene.settle();
    judge(row, scene, scene.verdict());
  } catch (error) {
    scene.check('the row ran to its end', false, error instanceof Error ? error.stack : error);
  }
  const { checks, figures } = scene;
  const verdict = scene.verdict() as Verdict | null;
  const ok = checks.every((check) => check.ok);
  if (!ok) for (const line of scene.said()) process.stderr.write(`${line}\n`);
  return { row: id, engine, profile, verdict, figures, checks, ok };
}

function judge(row: Row, scene: Scene, { overlapMs, stale, lost, updates, workerOverlapMs }: Verdict): void {
  const most = row.limit ?? { stale: 0, overlapMs: 0 };
  scene.check(`getUpdates overlap for ${most.overlapMs} ms at most`, overlapMs <= most.overlapMs, overlapMs);
  scene.check(`${most.stale} stale getUpdates at most`, stale <= most.stale, stale);
  scene.check('no update is lost', lost === 0, `${lost} of ${updates}`);
  scene.check('updates came', updates > 10, updates);
  if (!row.workersMayOverlap)
    scene.check('never two workers at once', workerOverlapMs === 0, workerOverlapMs);
}

const [id = '', engine, profile, dir = ''] = process.argv.slice(2);
const result = await runRow(dir, id, engine as EngineName, profile as LeaseProfile);
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
