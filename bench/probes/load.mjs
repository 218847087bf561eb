// The worker of the gateway's rows: asks the Bot API as a bot would, through the gateway (which only the worker's tree may use) and past it
// in turns, prints one JSON document with what it has measured, and ends.
//   load.mjs calls ROUNDS API PROXY    getMe by wrk on one connection and on many
//   load.mjs transfers ROUNDS API      a big upload, and the way of updates through a long poll
import { execFileSync } from 'node:child_process';
import { createReadStream, statSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { inTurns, median } from '../statistics.mjs';

const { TELEGRAM_API_ROOT: gateway, TELEGRAM_BOT_TOKEN: token } = process.env;
const [what, rounds, api, proxy] = process.argv.slice(2);
if (gateway === api) throw new Error('the worker was given the API itself: there is no gateway to measure');
const agent = new Agent({ keepAlive: true });
const WRK = join(import.meta.dirname, 'percentiles.lua');
const CONNECTIONS = 32;
/** V8 takes its time to compile what is hot. */
const WARM_UP_S = 2;
const MEGABYTES = 50;
const UPDATES = 50;

const plans = {
  async calls() {
    getMe(gateway, CONNECTIONS, WARM_UP_S);
    // As a hook leads there: the same port, with TLS.
    const led = gateway.replace('http:', 'https:');
    getMe(led, CONNECTIONS, WARM_UP_S);
    const single = { led: () => getMe(led, 1), ours: () => getMe(gateway, 1), theirs: () => getMe(api, 1) };
    const busy = { ours: () => getMe(gateway, CONNECTIONS), theirs: () => getMe(proxy, CONNECTIONS) };
    return { single: await inTurns(rounds, single), busy: await inTurns(rounds, busy) };
  },
  async transfers() {
    const file = 'big.bin';
    writeFileSync(file, Buffer.alloc(MEGABYTES * 1e6, 'a photo? '));
    const uploads = { ours: () => uploadRate(gateway, file), theirs: () => uploadRate(api, file) };
    const updates = { ours: () => updateMs(gateway), theirs: () => updateMs(api) };
    return { uploads: await inTurns(rounds, uploads), updates: await inTurns(rounds, updates) };
  },
};

/** On connections that always have one call open each: calls per second, ms of the 50th and 99th percentile. */
function getMe(root, connections, seconds = 1) {
  const options = ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', WRK, `${root}/bot${token}/getMe`];
  return JSON.parse(execFileSync('wrk', options, { encoding: 'utf8' }).trim().split('\n').at(-1));
}

/** MB/s of one multipart upload, streamed from the disk, on a connection that is open already. */
async function uploadRate(root, file) {
  const head = Buffer.from(
    '--cut\r\nContent-Disposition: form-data; name="document"; filename="big.bin"\r\n\r\n',
  );
  const tail = Buffer.from('\r\n--cut--\r\n');
  await call(root, 'getMe');
  const began = performance.now();
  const headers = {
    'content-type': 'multipart/form-data; boundary=cut',
    'content-length': head.length + statSync(file).size + tail.length,
  };
  await call(root, 'sendDocument', headers, (asked) => {
    asked.write(head);
    createReadStream(file)
      .on('end', () => asked.end(tail))
      .pipe(asked, { end: false });
  });
  return (MEGABYTES * 1000) / (performance.now() - began);
}

/** ms from the moment an update was sent (its text, in ns) until the long poll that waits for it has ended: the median. */
async function updateMs(root) {
  const ms = [];
  let offset = 0;
  while (ms.length < UPDATES) {
    const { result, now } = await call(root, `getUpdates?timeout=50&offset=${offset}`);
    for (const { update_id: id, message } of result) {
      offset = id + 1;
      ms.push(Number(now - BigInt(message.text)) / 1e6);
    }
  }
  return median(ms);
}

/** The answer, and when it was there (`now`). */
function call(root, method, headers = {}, send = (asked) => asked.end()) {
  return new Promise((resolve, reject) => {
    const options = { method: 'POST', agent, headers };
    const asked = request(`${root}/bot${token}/${method}`, options, async (answer) => {
      const body = await text(answer);
      const now = process.hrtime.bigint();
      if (answer.statusCode === 200) resolve({ ...JSON.parse(body), now });
      else reject(new Error(`${root} answered ${answer.statusCode}`));
    });
    asked.once('error', reject);
    send(asked);
  });
}

console.log(JSON.stringify(await plans[what]()));
process.exit();
