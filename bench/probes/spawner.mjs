// Spawns the worker with node:child_process (by setpriv, too) or execa, several times; tells its parent the median of ms from the call to the
// first byte of output. The module is loaded only after the choice: its memory is measured too.
const [spawner, program, ...words] = process.argv.slice(2);

const spawners = {
  async spawn() {
    const { spawn } = await import('node:child_process');
    return () => spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  },
  async setpriv() {
    const { spawn } = await import('node:child_process');
    const all = ['--pdeathsig', 'KILL', '--', program, ...words];
    return () => spawn('/usr/bin/setpriv', all, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  },
  async execa() {
    const { execa } = await import('execa');
    return () => {
      const child = execa(program, words, { stdin: 'ignore', buffer: false, reject: false, detached: true });
      return child;
    };
  },
};

const begin = await spawners[spawner]();
const tookMs = [];
for (let i = 0; i < 12; i++) {
  const began = performance.now();
  const child = begin();
  const gone = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  tookMs.push(performance.now() - began);
  await gone;
}
tookMs.sort((a, b) => a - b);
process.stdout.write(`${tookMs[6]}\n`);
setInterval(() => {}, 1e9);
