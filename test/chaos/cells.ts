// Runs cells (a row with an engine), each in a yard of its own, some of them side by side.
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LeaseProfile } from '../../src/lease/timing.ts';
import type { EngineName } from '../support/engines.ts';
import type { CellResult } from './cell.ts';
import { IN_YARD } from './yard.ts';

export interface Cell {
  readonly row: string;
  readonly engine: EngineName;
  readonly profile: LeaseProfile;
}

export interface Ran extends CellResult {
  /** What its supervisors said, where it is not ok. */
  readonly talk: string;
}

const CELL_MS = 300_000;

/** Folders in use; they go with us, also when we are asked to end. */
const folders = new Set<string>();
const remove = (dir: string): void => {
  rmSync(dir, { recursive: true, force: true });
  folders.delete(dir);
};
process.once('exit', () => [...folders].forEach(remove));

/** Runs cell.ts in a yard with a folder that is removed afterwards; reads the JSON of its last line. */
async function inYard({ row, engine, profile }: Cell): Promise<Ran> {
  const dir = mkdtempSync(join(tmpdir(), 'sp-chaos-'));
  folders.add(dir);
  // PostgreSQL runs as a user of its own.
  chmodSync(dir, 0o755);
  const file = fileURLToPath(new URL('cell.ts', import.meta.url));
  const node = [process.execPath, '--import', import.meta.resolve('tsx'), file];
  const command = [...IN_YARD.slice(1), ...node, row, engine, profile, dir];
  const child = spawn(IN_YARD[0], command, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let talk = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    talk = (talk + chunk).slice(-200_000);
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), CELL_MS);
  try {
    await new Promise((resolve) => child.once('close', resolve));
    const last = out.trim().split('\n').at(-1) ?? '';
    if (!last.startsWith('{')) throw new Error(`no result:\n${out}\n${talk}`);
    return { ...(JSON.parse(last) as CellResult), talk };
  } finally {
    clearTimeout(timer);
    remove(dir);
  }
}

export async function runCell(cell: Cell): Promise<Ran> {
  try {
    return await inYard(cell);
  } catch (error) {
    const checks = [{ what: 'the cell gave a result', ok: false, seen: String(error), speed: false }];
    return { ...cell, verdict: null, figures: {}, checks, ok: false, talk: '' };
  }
}

/** At most `jobs` at a time, in the order given; `done` hears of each as it ends. */
export async function runCells(
  cells: readonly Cell[],
  jobs: number,
  done: (result: Ran, index: number) => void,
): Promise<Ran[]> {
  const results: Ran[] = [];
  const queue = [...cells.entries()];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const [index, cell] = next;
      const result = await runCell(cell);
      results[index] = result;
      done(result, index);
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  return results;
}

/** What was wrong, or every figure where nothing was. */
export function sentence({ row, engine, verdict, figures, checks, ok }: Ran): string {
  const head = `${ok ? 'ok    ' : 'BROKEN'} ${row.padEnd(3)} ${engine.padEnd(10)}`;
  const shown = Object.entries({ ...verdict, ...figures })
    .map(([name, value]) => `${name} ${Number.isInteger(value) ? value : value.toFixed(1)}`)
    .join(', ');
  const broken = checks.filter((check) => !check.ok).map(({ what, seen }) => `\n       ${what}: ${seen}`);
  return `${head} ${shown}${broken.join('')}`;
}
