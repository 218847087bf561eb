// `npm run chaos`: several machines, one bot, a fault; who polled, what was lost, how long nobody polled. Real processes, real
// engines, each machine in namespaces of its own; the Bot API stand-in is the judge. Needs Linux and root.
//   npm run chaos                                     all rows with all engines, default profile
//   npm run chaos -- --rows 1,2,3 --engines redis     some of them
//   npm run chaos -- --profile fast --jobs 4          the fast profile, four at a time
//   npm run chaos -- handover --rounds 50 --crashes 5 how long hand-over and take-over need; --engines, --profile
//   npm run chaos -- standby                          what a standby costs; --engines
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { LEASE_PROFILES, type LeaseProfile } from '../../src/lease/timing.ts';
import { ENGINES, type EngineName } from '../support/engines.ts';
import { type Cell, runCells } from './cells.ts';
import { measureHandovers, measureStandbys } from './measure.ts';
import { ROWS } from './rows/all.ts';
import { chaosTable, sentence } from './table.ts';
import { yardProblem } from './yard.ts';

const COMMANDS = ['rows', 'handover', 'standby'];
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string' },
    engines: { type: 'string' },
    profile: { type: 'string', default: 'default' },
    jobs: { type: 'string' },
    rounds: { type: 'string', default: '50' },
    crashes: { type: 'string', default: '5' },
    talk: { type: 'boolean', default: false },
  },
});

const [command = 'rows', ...more] = positionals;
const rows = values.rows?.split(',') ?? ROWS.map(({ id }) => id);
const named = values.engines?.split(',') as EngineName[] | undefined;
const profile = values.profile as LeaseProfile;
const jobs = Number(values.jobs ?? (command === 'rows' ? 3 : 1));
const counts = [jobs, Number(values.rounds), Number(values.crashes)];
const wrong =
  !COMMANDS.includes(command) ||
  more.length > 0 ||
  rows.some((id) => !ROWS.some((row) => row.id === id)) ||
  (named ?? []).some((name) => !ENGINES.includes(name)) ||
  !(profile in LEASE_PROFILES) ||
  counts.some((count) => !Number.isInteger(count) || count < 0) ||
  jobs < 1;
if (wrong) {
  console.error(
    'usage: npm run chaos -- [--rows 1,2b] [--engines redis,etcd] [--profile fast|default|frugal] [--jobs N] [--talk]',
  );
  console.error(
    '       npm run chaos -- handover [--rounds N] [--crashes N] [--engines redis,etcd] [--profile fast]',
  );
  console.error('       npm run chaos -- standby [--jobs N]');
  for (const { id, fault } of ROWS) console.error(`  ${id.padEnd(4)} ${fault}`);
  process.exit(64);
}
const problem = await yardProblem();
if (problem) {
  console.error(`npm run chaos: ${problem}`);
  process.exit(69);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

let kept: boolean;
if (command === 'handover') {
  const rounds = { rounds: Number(values.rounds), crashes: Number(values.crashes) };
  kept = await measureHandovers(named ?? ['redis', 'postgres', 'etcd'], profile, rounds);
} else if (command === 'standby') kept = await measureStandbys(named ?? ['redis', 'postgres', 'etcd'], jobs);
else kept = await runRows();
console.log(`\nmachine: Node ${process.version}, ${availableParallelism()} CPUs`);
process.exit(kept ? 0 : 1);

async function runRows(): Promise<boolean> {
  const engines = named ?? ENGINES;
  const cells: Cell[] = rows.flatMap((id) => {
    const only = ROWS.find((row) => row.id === id)?.engines ?? ENGINES;
    return engines.filter((name) => only.includes(name)).map((engine) => ({ row: id, engine, profile }));
  });
  const results = await runCells(cells, jobs, (result) => {
    console.error(sentence(result));
    if (!result.ok && values.talk) console.error(result.talk);
  });
  console.log(`\n${chaosTable(results)}\n\n${profile} profile`);
  return results.every(({ ok }) => ok);
}
