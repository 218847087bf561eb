// `npm run bench`: the promises about speed and memory, measured side by side in one run on this machine; one table of medians
// and pair-by-pair ratios. Ends with 1 when a promise is broken. Needs Linux; loopback only.
//   npm run bench                       everything (some minutes)
//   npm run bench -- commands restart   only these
//   npm run bench -- --rounds 15        more rounds (default 7)
//   npm run bench -- --json             one JSON document with every single value
import { availableParallelism, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { buildWhenStale } from '../scripts/prepare.mjs';
import { gateway } from './rows/gateway.mjs';
import { hooks } from './rows/hooks.mjs';
import { idle } from './rows/idle.mjs';
import { output } from './rows/output.mjs';
import { scan } from './rows/scan.mjs';
import { commands, restart, start } from './rows/times.mjs';
import { bareNodeMs, clear } from './scene.mjs';
import { line, median, table } from './statistics.mjs';

const ROWS = { commands, start, restart, idle, output, gateway, hooks, scan };

const { values: options, positionals: names } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '7' }, json: { type: 'boolean', default: false } },
});
const unknown = names.filter((name) => !(name in ROWS));
const rounds = Number(options.rounds);
if (unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
  console.error(`usage: npm run bench -- [--rounds N] [--json] [${Object.keys(ROWS).join('|')}]…`);
  process.exit(64);
}

buildWhenStale();
const lines = [];
/** Times in ms mean something only beside this: the same on a quiet machine is some 35 ms. */
const yardstick = () => ({
  nodeMs: median(Array.from({ length: 9 }, bareNodeMs)),
  load: loadavg()[0],
});
const before = yardstick();
for (const [name, run] of Object.entries(ROWS)) {
  if (names.length > 0 && !names.includes(name)) continue;
  console.error(name);
  lines.push(...(await run(rounds)).map((it) => line({ row: name, ...it })));
  await clear();
}
const after = yardstick();
const machine = { node: process.version, cpus: availableParallelism(), before, after };
if (options.json) console.log(JSON.stringify({ at: new Date().toISOString(), machine, lines }));
else {
  const describe = ({ nodeMs, load }) => `node -e 0 ${nodeMs.toFixed(0)} ms, load ${load.toFixed(1)}`;
  console.log(`\n${table(lines).join('\n')}`);
  console.log(
    `\nNode ${machine.node}, ${machine.cpus} CPUs; before: ${describe(before)}; after: ${describe(after)}`,
  );
}
process.exit(lines.some(({ kept }) => kept === false) ? 1 : 0);
