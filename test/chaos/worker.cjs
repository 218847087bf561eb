// A polling bot that writes down what it does and when, by the clock that all machines of a yard share. Its first line is its first
// instruction. Words: `stubborn` ignores SIGTERM and has a child in a session of its own that polls as well; `brisk` asks again and again
// instead of waiting for updates.
const { hrtime } = process;
const now = () => Number(hrtime.bigint()) / 1e6;
const startedAt = now();
const { appendFileSync } = require('node:fs');
const http = require('node:http');

const { CHAOS_NAME: name, CHAOS_JOURNAL: journal } = process.env;
const epoch = process.env.SINGLEPOLL_EPOCH ?? '0';
const { TELEGRAM_API_ROOT: root, TELEGRAM_BOT_TOKEN: token } = process.env;
const stubborn = process.argv.includes('stubborn');
const child = process.argv.includes('child');
const brisk = process.argv.includes('brisk');
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const write = (ev, more) =>
  appendFileSync(
    journal,
    `${JSON.stringify({ ev, name, pid: process.pid, epoch: Number(epoch), at: now(), ...more })}\n`,
  );
write('start', { at: startedAt, child });

process.on('exit', () => write('end'));
process.on('SIGTERM', () => {
  write('asked');
  if (!stubborn && !child) process.exit(0);
});
if (stubborn)
  require('node:child_process').spawn(process.execPath, [__filename, 'child'], {
    stdio: 'ignore',
    detached: true,
  });

const agent = new http.Agent({ keepAlive: true });
let offset = 0;

function poll() {
  const ask = `timeout=${brisk ? 0 : 4}&offset=${offset}&poller=${name}.${process.pid}&epoch=${epoch}`;
  return new Promise((resolve, reject) => {
    const request = http.get(`${root}/bot${token}/getUpdates?${ask}`, { agent }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => {
        text += part;
      });
      response.on('end', () => resolve(JSON.parse(text)));
      response.on('error', reject);
    });
    request.on('error', reject);
  });
}

async function main() {
  for (;;) {
    try {
      const answer = await poll();
      if (!answer.ok) throw new Error(answer.description);
      for (const { update_id: id } of answer.result) {
        write('update', { id });
        offset = id + 1;
      }
      if (brisk) await pause(20);
    } catch {
      await pause(100);
    }
  }
}
void main();
