// `npm run chaos`: several machines, one bot, a fault; who polled, what was lost, how long nobody polled. Real processes, real
// engines, each machine in namespaces of its own; the Bot API stand-in is the judge. Needs Linux and root.
//   npm run chaos                                     all rows with all engines, default profile
//   npm run chaos -- --rows 1,2,3 --engines redis     some of them
//   npm run chaos -- --profile fast --jobs 4          the fast profile, four at a time
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { LEASE_PROFILES, type LeaseProfile } from '../../src/lease/timing.ts';
import { ENGINES, type EngineName } from '../support/engines.ts';
import { type Cell, runCells, sentence } from './cells.ts';
import { ROWS } from './rows/all.ts';
import { yardProblem } from './yard.ts';

const { values } = parseArgs({
  options: {
    rows: { type: 'string' },
    engines: { type: 'string' },
    profile: { type: 'string', default: 'default' },
    jobs: { type: 'string', default: '3' },
    talk: { type: 'boolean', default: false },
  },
});

const rows = values.rows?.split(',') ?? ROWS.map(({ id }) => id);
const engines = (values.engines?.split(',') as EngineName[] | undefined) ?? ENGINES;
const profile = values.profile as LeaseProfile;
const jobs = Number(values.jobs);
const wrong =
  rows.some((id) => !ROWS.some((row) => row.id === id)) ||
  engines.some((name) => !ENGINES.includes(name)) ||
  !(profile in LEASE_PROFILES) ||
  !(Number.isInteger(jobs) && jobs > 0);
if (wrong) {
  console.error(
    'usage: npm run chaos -- [--rows 1,2b] [--engines redis,etcd] [--profile fast|default|frugal] [--jobs N] [--talk]',
  );
  for (const { id, fault } of ROWS) console.error(`  ${id.padEnd(4)} ${fault}`);
  process.exit(64);
}
const problem = await yardProblem();
if (problem) {
  console.error(`npm run chaos: ${problem}`);
  process.exit(69);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

const cells: Cell[] = rows.flatMap((id) => {
  const only = ROWS.find((row) => row.id === id)?.engines ?? ENGINES;
  return engines.filter((name) => only.includes(name)).map((engine) => ({ row: id, engine, profile }));
});
const results = await runCells(cells, jobs, (result) => {
  console.error(sentence(result));
  if (!result.ok && values.talk) console.error(result.talk);
});
console.log(`\n${profile} profile; Node ${process.version}, ${availableParallelism()} CPUs`);
process.exit(results.every(({ ok }) => ok) ? 0 : 1);
