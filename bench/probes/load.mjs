// The worker of the gateway's rows: asks the Bot API as a bot would and times the answers. It takes its orders, one JSON document a
// line, from the Unix socket BENCH_CONTROL and answers each with one line. Orders name the root to ask: the gateway
// (TELEGRAM_API_ROOT, which only the worker's tree may use), the API itself, or nginx before it.
import { execFileSync } from 'node:child_process';
import { createReadStream, statSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';

const { BENCH_CONTROL, TELEGRAM_API_ROOT, TELEGRAM_BOT_TOKEN: token } = process.env;
const agent = new Agent({ keepAlive: true });
const WRK = join(import.meta.dirname, 'percentiles.lua');

const orders = {
  /** getMe by wrk on `connections` that always have one call open each: calls per second, ms of the 50th and 99th percentile. */
  getMe({ root, connections, seconds }) {
    const options = ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', WRK, `${root}/bot${token}/getMe`];
    return JSON.parse(execFileSync('wrk', options, { encoding: 'utf8' }).trim().split('\n').at(-1));
  },

  /** ms of one multipart upload of `file`, streamed from the disk, on a connection that is open already. */
  async upload({ root, file }) {
    const head = Buffer.from(
      '--cut\r\nContent-Disposition: form-data; name="document"; filename="big.bin"\r\n\r\n',
    );
    const tail = Buffer.from('\r\n--cut--\r\n');
    await call(root, 'getMe', {}, (asked) => asked.end());
    const began = performance.now();
    const headers = {
      'content-type': 'multipart/form-data; boundary=cut',
      'content-length': head.length + statSync(file).size + tail.length,
    };
    await call(root, 'sendDocument', headers, (asked) => {
      asked.write(head);
      const stream = createReadStream(file).on('end', () => asked.end(tail));
      stream.pipe(asked, { end: false });
    });
    return { ms: performance.now() - began };
  },

  /** ms from the moment an update was sent (its text, in ns) until the long poll that waits for it has ended; `updates` times. */
  async poll({ root, updates }) {
    const ms = [];
    let offset = 0;
    while (ms.length < updates) {
      const { result, now } = await call(root, `getUpdates?timeout=50&offset=${offset}`, {}, (asked) =>
        asked.end(),
      );
      for (const { update_id: id, message } of result) {
        offset = id + 1;
        ms.push(Number(now - BigInt(message.text)) / 1e6);
      }
    }
    return { ms };
  },
};

/** The answer, and when it was there (`now`). */
function call(root, method, headers, send) {
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

const control = connect(BENCH_CONTROL);
control.write(`${JSON.stringify({ gateway: TELEGRAM_API_ROOT })}\n`);
for await (const line of createInterface({ input: control })) {
  const { order, ...details } = JSON.parse(line);
  control.write(`${JSON.stringify(await orders[order](details))}\n`);
}
