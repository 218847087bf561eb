// Measures how fast a worker's output passes through: 2 million lines of 100 bytes by the pump into a file, against
// `worker | cat > file`, side by side in one run. Prints medians and the ratio of each pair of runs.
// Usage: node scripts/bench-output.mjs [runs=7] [lines=2000000]
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';

const runs = Number(process.argv[2] ?? 7);
const lines = Number(process.argv[3] ?? 2_000_000);
const folder = mkdtempSync(join(tmpdir(), 'bench-output-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const TOKEN = '7312345678:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1';
const line = (text) => `${text.padEnd(99, ' and so on').slice(0, 99)}\n`;
const kinds = {
  'time of day in each line': line('2024-05-05 12:34:56,789 INFO worker: update 1234567 handled in 0.0034 s'),
  'words only': line('INFO worker: got an update from the chat, handled it in no time'),
  'JSON logs': line(
    '{"level":30,"time":1714900000123,"pid":4242,"hostname":"h1","id":987654321,"ms":12.5,"msg":"',
  ),
  'a token in each line': line(`2024-05-05 12:34:56 POST https://api.telegram.org/bot${TOKEN}/getMe`),
};

const program = join(folder, 'pumped.mjs');
await build({
  stdin: {
    contents: `
      import { spawn } from 'node:child_process';
      import { startPump } from './src/output/pump.ts';
      import { openWorkerPipes } from './src/output/pipes.ts';
      const [kind, input, folder] = process.argv.slice(2);
      const pipes = kind === 'pipe' ? await openWorkerPipes(folder) : null;
      const beganMs = performance.now();
      const worker = spawn('cat', [input], { stdio: ['ignore', pipes ? pipes.writeFds[0] : 'pipe', 'inherit'] });
      pipes?.closeWriteEnds();
      await startPump({ source: pipes ? pipes.readFds[0] : worker.stdout, destinationFd: 1, tokens: ['${TOKEN}'], onText() {} }).done;
      process.stderr.write(JSON.stringify({ ms: performance.now() - beganMs, rssMib: process.resourceUsage().maxRSS / 1024 }));
      process.exit(0);`,
    resolveDir: process.cwd(),
    loader: 'ts',
  },
  outfile: program,
  bundle: true,
  platform: 'node',
  format: 'esm',
});

const input = join(folder, 'input');
const output = join(folder, 'output');

function run(command, args) {
  const fd = openSync(output, 'w');
  const beganMs = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', fd, 'pipe'] });
  closeSync(fd);
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  return new Promise((resolve, reject) => {
    child.once('close', (code) => {
      if (code !== 0) reject(new Error(`${command} ended with ${code}: ${said}`));
      else resolve({ wallMs: performance.now() - beganMs, said });
    });
  });
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const range = (values) => `${Math.min(...values).toFixed(2)}–${Math.max(...values).toFixed(2)}`;

console.log(
  `${lines} lines of 100 bytes, ${runs} runs; ratios are to \`cat input | cat > file\` of the same run`,
);
console.log(
  `${'input'.padEnd(26)} through    cat ms  ours ms  ratio (range)         with Node's start  RSS MiB`,
);
for (const [name, text] of Object.entries(kinds)) {
  const block = text.repeat(10_000);
  writeFileSync(input, '');
  const fd = openSync(input, 'w');
  for (let left = lines; left > 0; left -= 10_000)
    writeSync(fd, block.slice(0, Math.min(left, 10_000) * 100));
  closeSync(fd);
  for (const kind of ['pipe', 'socket']) {
    const cat = [];
    const ours = [];
    const ratios = [];
    const wallRatios = [];
    let rssMib = 0;
    for (let i = 0; i < runs; i++) {
      const reference = await run('sh', ['-c', 'cat "$0" | cat', input]);
      if (statSync(output).size !== lines * 100) throw new Error('cat lost bytes');
      const pumped = await run(process.execPath, [program, kind, input, folder]);
      const masked = lines * (text.includes(TOKEN) ? TOKEN.split(':')[1].length - Buffer.byteLength('…') : 0);
      if (statSync(output).size !== lines * 100 - masked) throw new Error('bytes were lost');
      const told = JSON.parse(pumped.said);
      cat.push(reference.wallMs);
      ours.push(told.ms);
      ratios.push(told.ms / reference.wallMs);
      wallRatios.push(pumped.wallMs / reference.wallMs);
      rssMib = Math.max(rssMib, told.rssMib);
    }
    console.log(
      `${name.padEnd(26)} ${kind.padEnd(8)} ${median(cat).toFixed(0).padStart(8)} ${median(ours).toFixed(0).padStart(8)}  ` +
        `${median(ratios).toFixed(2)} (${range(ratios)})`.padEnd(23) +
        `${median(wallRatios).toFixed(2)} (${range(wallRatios)})`.padEnd(19) +
        rssMib.toFixed(0).padStart(7),
    );
  }
}
