// The worker of the gateway's rows: asks the Bot API as a bot would, as fast as a Node can, and times the answers. It takes its
// orders, one JSON document a line, from the Unix socket BENCH_CONTROL and answers each with one line. Orders name the root to
// ask: the gateway (TELEGRAM_API_ROOT, which only the worker's tree may use), the API itself, or nginx before it.
// Small requests are bytes made beforehand and their answers are only counted: what is measured is the other side.
import { createReadStream, statSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { connect as connectTo } from 'node:net';
import { createInterface } from 'node:readline';

const { BENCH_CONTROL, TELEGRAM_API_ROOT, TELEGRAM_BOT_TOKEN: token } = process.env;

const orders = {
  /** `calls` to each of `roots` (name → root), one connection each, taking turns call by call. name → ms of each call. */
  async latency({ roots, calls }) {
    const contestants = await Promise.all(
      Object.entries(roots).map(async ([name, root]) => ({ name, ms: [], at: await open(root) })),
    );
    const request = getMe();
    for (let i = 0; i < calls; i++) {
      for (const { at, ms } of i % 2 === 0 ? contestants : contestants.toReversed()) {
        const began = performance.now();
        await at.ask(request);
        ms.push(performance.now() - began);
      }
    }
    for (const { at } of contestants) at.close();
    return Object.fromEntries(contestants.map(({ name, ms }) => [name, ms]));
  },

  /** Answers per second that `connections` get that always have one call open each, over `ms`. */
  async throughput({ root, connections, ms }) {
    const connected = await Promise.all(Array.from({ length: connections }, () => open(root)));
    const request = getMe();
    // The first answer shows how long they are: from then on they are counted, not read.
    for (const at of connected) await at.ask(request, { sameSize: true });
    let answers = 0;
    let over = false;
    setTimeout(() => {
      over = true;
    }, ms);
    const began = performance.now();
    await Promise.all(
      connected.map(
        (at) =>
          new Promise((resolve) => {
            const next = () => {
              answers += 1;
              if (over) resolve();
              else at.send(request, next);
            };
            at.send(request, next);
          }),
      ),
    );
    const perSecond = (answers / (performance.now() - began)) * 1000;
    for (const at of connected) at.close();
    return { perSecond };
  },

  /**
   * ms of one multipart upload of `file`, from the call to the end of the answer. As bots do it: Node's client, the file streamed
   * from the disk, a connection that is open already.
   */
  async upload({ root, file }) {
    const agent = new Agent({ keepAlive: true });
    const head = Buffer.from(
      '--cut\r\nContent-Disposition: form-data; name="chat_id"\r\n\r\n1000\r\n' +
        '--cut\r\nContent-Disposition: form-data; name="document"; filename="big.bin"\r\n' +
        'Content-Type: application/octet-stream\r\n\r\n',
    );
    const tail = Buffer.from('\r\n--cut--\r\n');
    const call = (method, headers, send) =>
      new Promise((resolve, reject) => {
        const url = `${root}/bot${token}/${method}`;
        const asked = httpRequest(url, { method: 'POST', agent, headers }, (answer) => {
          if (answer.statusCode !== 200) reject(new Error(`${root} answered ${answer.statusCode}`));
          answer.resume().once('end', resolve);
        });
        asked.once('error', reject);
        send(asked);
      });
    await call('getMe', {}, (asked) => asked.end());
    const began = performance.now();
    const headers = {
      'content-type': 'multipart/form-data; boundary=cut',
      'content-length': head.length + statSync(file).size + tail.length,
    };
    await call('sendDocument', headers, (asked) => {
      asked.write(head);
      createReadStream(file)
        .on('end', () => asked.end(tail))
        .pipe(asked, { end: false });
    });
    const ms = performance.now() - began;
    agent.destroy();
    return { ms };
  },

  /** ms from the moment an update was sent (its text, in ns) until the long poll that waits for it has ended; `updates` times. */
  async poll({ root, updates }) {
    const at = await open(root);
    const ms = [];
    let offset = 0;
    while (ms.length < updates) {
      const text = await at.ask(request('getUpdates', JSON.stringify({ timeout: 50, offset })));
      const now = process.hrtime.bigint();
      const { result } = JSON.parse(text.slice(text.indexOf('{')));
      for (const { update_id: id, message } of result) {
        offset = id + 1;
        ms.push(Number(now - BigInt(message.text)) / 1e6);
      }
    }
    at.close();
    return { ms };
  },
};

/** How libraries call: POST with JSON. */
function request(method, body) {
  return Buffer.from(
    `POST /bot${token}/${method} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: keep-alive\r\n\r\n${body}`,
  );
}

const getMe = () => request('getMe', '{}');

/** One kept-alive connection with one call open at a time. Ends the process when an answer is anything but 200. */
async function open(root) {
  const { hostname, port } = new URL(root);
  let text = '';
  let got = 0;
  let size = 0;
  let counting = false;
  let done = null;
  const socket = connectTo({
    host: hostname,
    port: Number(port),
    noDelay: true,
    onread: { buffer: Buffer.alloc(64 * 1024), callback: read },
  });
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  const fail = (why) => {
    console.error(`load: ${root}: ${why}`);
    process.exit(1);
  };
  socket.on('error', (error) => fail(error.message));
  socket.on('close', () => done && fail('closed before the answer'));

  function read(length, buffer) {
    if (got === 0 && buffer.latin1Slice(9, 12) !== '200') fail(buffer.latin1Slice(0, length));
    got += length;
    if (!counting) {
      text += buffer.latin1Slice(0, length);
      size = sizeOf(text);
    }
    if (got < size) return;
    if (got > size) fail(`${got} bytes instead of ${size}`);
    const finish = done;
    done = null;
    got = 0;
    finish(text);
  }

  const send = (bytes, finish) => {
    done = finish;
    socket.write(bytes);
  };
  const answer = () =>
    new Promise((resolve) => {
      text = '';
      done = resolve;
    });
  return {
    send,
    answer,
    /** Resolves with the answer, head and body. With `sameSize`, what follows by `send` is only counted. */
    ask(bytes, { sameSize = false } = {}) {
      const answered = answer();
      socket.write(bytes);
      return answered.then((it) => {
        counting = sameSize;
        return it;
      });
    },
    close: () => socket.destroy(),
  };
}

/** Length of the whole answer that `text` begins; infinite while that is not known. */
function sizeOf(text) {
  const bodyAt = text.indexOf('\r\n\r\n') + 4;
  if (bodyAt === 3) return Infinity;
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text.slice(0, bodyAt));
  if (length) return bodyAt + Number(length[1]);
  const end = text.indexOf('\r\n0\r\n\r\n', bodyAt - 2);
  return end === -1 ? Infinity : end + 7;
}

const control = connectTo(BENCH_CONTROL);
control.write(`${JSON.stringify({ gateway: TELEGRAM_API_ROOT })}\n`);
for await (const line of createInterface({ input: control })) {
  const { order, ...details } = JSON.parse(line);
  control.write(`${JSON.stringify(await orders[order](details))}\n`);
}
