// `npm run bench`: the promises about speed and memory, measured side by side in one run on this machine; one table of
// medians and pair-by-pair ratios. Ends with 1 when a promise is broken. Needs Linux; loopback only.
//   npm run bench                       everything (some minutes)
//   npm run bench -- status restart     only these
//   npm run bench -- --rounds 15        more rounds (default 7)
//   npm run bench -- --json             one JSON document with every single value
import { availableParallelism, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { client } from '../bench/rows/client.mjs';
import { gateway } from '../bench/rows/gateway.mjs';
import { gatewayPoll } from '../bench/rows/gateway-poll.mjs';
import { gatewayUpload } from '../bench/rows/gateway-upload.mjs';
import { idle } from '../bench/rows/idle.mjs';
import { output } from '../bench/rows/output.mjs';
import { peers } from '../bench/rows/peers.mjs';
import { restart } from '../bench/rows/restart.mjs';
import { scan } from '../bench/rows/scan.mjs';
import { spawn } from '../bench/rows/spawn.mjs';
import { start } from '../bench/rows/start.mjs';
import { help, status } from '../bench/rows/start-up.mjs';
import { bareNodeMs } from '../bench/scene.mjs';
import { median } from '../bench/statistics.mjs';
import { table } from '../bench/table.mjs';
import { buildWhenStale } from './prepare.mjs';

const measurements = [
  ...[status, help, restart, idle, start, peers, output],
  ...[gateway, gatewayUpload, gatewayPoll, scan, client, spawn],
];

const { values: options, positionals: names } = parseArgs({
  allowPositionals: true,
  // What it does not know is answered with the usage, as --help is.
  strict: false,
  options: { rounds: { type: 'string', default: '7' }, json: { type: 'boolean', default: false } },
});
const strange = Object.keys(options).filter((name) => name !== 'rounds' && name !== 'json');
const known = measurements.map(({ name }) => name);
const unknown = names.filter((name) => !known.includes(name));
const rounds = Number(options.rounds);
if (unknown.length > 0 || strange.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
  console.error(`usage: npm run bench -- [--rounds N] [--json] [${known.join('|')}]…`);
  for (const { name, about } of measurements) console.error(`  ${name.padEnd(14)} ${about}`);
  process.exit(64);
}
if (process.platform !== 'linux') {
  console.error('the benchmark reads /proc: it runs on Linux only');
  process.exit(69);
}

buildWhenStale();
const chosen = measurements.filter(({ name }) => names.length === 0 || names.includes(name));
const lines = [];
/** Times in ms mean something only beside this: the same on a quiet machine is some 35 ms. */
const yardstick = () => ({
  nodeMs: median(Array.from({ length: 9 }, bareNodeMs)),
  load: loadavg()[0],
});
const before = yardstick();
for (const { name, about, run } of chosen) {
  console.error(`${name}: ${about}`);
  lines.push(...(await run({ rounds })));
}
const after = yardstick();
const machine = { node: process.version, cpus: availableParallelism(), before, after };
if (options.json) console.log(JSON.stringify({ at: new Date().toISOString(), machine, lines }));
else {
  console.log(`\n${table(lines).join('\n')}`);
  const say = ({ nodeMs, load }) => `node -e 0 ${nodeMs.toFixed(0)} ms, load ${load.toFixed(1)}`;
  console.log(
    `\nmachine: Node ${machine.node}, ${machine.cpus} CPUs; before: ${say(before)}; after: ${say(after)}`,
  );
}
process.exit(lines.some(({ kept }) => kept === false) ? 1 : 0);
