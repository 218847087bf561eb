// Files through the gateway: streamed both ways, never held whole. SP_TEST_BIG_MB sets another size.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { onUpstream } from '../support/gateway-bed.ts';
import { watchMemory } from '../support/gateway-process.ts';
import type { Gate } from '../support/relay.ts';
import { headersOf } from '../support/upstream.ts';
import { staysTrue, until } from '../support/wait.ts';
import { ask, json, requestBytes, wire } from '../support/wire.ts';

const MB = 1 << 20;
const UPLOAD_MB = Number(process.env.SP_TEST_BIG_MB ?? 100);
const DOWNLOAD_MB = UPLOAD_MB;
const MORE_MEMORY_MB = 45;
const PIECE = randomBytes(256 * 1024);

/** Loads the code of the way that is measured: what a first call costs once is not the transfer's memory. */
async function warmUp(gate: Gate): Promise<void> {
  for (let round = 0; round < 5; round++) {
    await ask(gate, { target: '/bot{token}/getChat' });
    await ask(gate, { target: '/bot{token}/warmUp', body: PIECE });
  }
}

/** Writes the piece until `bytes` are out, at the pace of the reader; false where the connection ended before. */
async function pour(socket: Socket, bytes: number, onPiece: (piece: Buffer) => void): Promise<boolean> {
  for (let left = bytes; left > 0; ) {
    const piece = PIECE.subarray(0, Math.min(left, PIECE.length));
    onPiece(piece);
    left -= piece.length;
    const gone = new Promise<boolean>((resolve) => socket.once('close', () => resolve(false)));
    if (socket.destroyed) return false;
    const sent = new Promise<boolean>((resolve) => socket.write(piece, (error) => resolve(!error)));
    if (!(await Promise.race([sent, gone]))) return false;
  }
  return true;
}

for (const framing of ['Content-Length', 'chunked'] as const) {
  test(`upload, ${UPLOAD_MB} MB, ${framing}: streamed, whole, in little memory`, async (t) => {
    const { up, gate } = await onUpstream(t);
    await warmUp(gate);
    const total = UPLOAD_MB * MB;
    const grown = watchMemory(gate.pids);
    const connection = wire(gate.dial('inside'));
    connection.socket.setMaxListeners(0);
    await connection.send(
      requestBytes(gate, {
        method: 'POST',
        target: '/bot{token}/sendDocument',
        headers: [
          ['Content-Type', 'multipart/form-data; boundary=x'],
          framing === 'chunked' ? ['Transfer-Encoding', 'chunked'] : ['Content-Length', String(total)],
        ],
      }),
    );
    const hash = createHash('sha256');
    const write = async (bytes: number) => {
      if (framing === 'Content-Length')
        return pour(connection.socket, bytes, (piece) => {
          hash.update(piece);
        });
      for (let left = bytes; left > 0; left -= PIECE.length) {
        hash.update(PIECE);
        await connection.send(`${PIECE.length.toString(16)}\r\n`);
        await connection.send(PIECE);
        await connection.send('\r\n');
      }
      return true;
    };
    await write(PIECE.length);
    const seen = await until('the first bytes upstream, before the rest is sent', () => {
      const one = up.of('sendDocument')[0];
      return one && one.bytes > 0 ? one : null;
    });
    assert.ok(await write(total - PIECE.length), 'sent');
    if (framing === 'chunked') await connection.send('0\r\n\r\n');
    const [answer] = await connection.until(1, 60_000);
    assert.equal(answer?.status, 200);
    assert.equal(seen.bytes, total);
    assert.equal(seen.sha256, hash.digest('hex'));
    if (framing === 'Content-Length') assert.deepEqual(headersOf(seen, 'content-length'), [String(total)]);
    assert.ok(grown() < MORE_MEMORY_MB, `${grown().toFixed(1)} MB more memory at the peak`);
    connection.close();
  });
}

test('upload to an API that does not read: the gateway stops reading, too', async (t) => {
  const { b, up, gate } = await onUpstream(t);
  await warmUp(gate);
  up.onHead('sendDocument', () => {}); // reads nothing, answers nothing
  const grown = watchMemory(gate.pids);
  const connection = wire(gate.dial('inside'));
  connection.socket.setMaxListeners(0);
  const headers = [['Content-Length', String(200 * MB)]] as const;
  await connection.send(requestBytes(gate, { method: 'POST', target: '/bot{token}/sendDocument', headers }));
  let sent = 0;
  void pour(connection.socket, 200 * MB, (piece) => {
    sent += piece.length;
  });
  let before = -1;
  await until(
    'the writer to stand still',
    () => {
      const still = sent === before;
      before = sent;
      return still;
    },
    { ms: 20_000, everyMs: 700 },
  );
  assert.ok(sent < 60 * MB, `${sent / MB} MB were taken in`);
  assert.ok(grown() < MORE_MEMORY_MB, `${grown().toFixed(1)} MB more memory at the peak`);
  assert.equal((await b.status()).worker?.spawns, 1);
  connection.close();
  assert.equal((await ask(gate, { target: '/bot{token}/getChat' })).status, 200);
});

test('upload that the API turns down half-way (413): the worker gets to know', async (t) => {
  const { up, gate } = await onUpstream(t);
  const body = '{"ok":false,"error_code":413,"description":"Request Entity Too Large"}';
  up.onHead('sendDocument', (response, _seen, request) => {
    request.once('data', () => {
      response.writeHead(413, { 'Content-Type': 'application/json', 'Content-Length': body.length });
      response.end(body);
      // What is still coming is thrown away, as nginx does it for a while: a reset could overtake the answer.
      request.resume();
    });
  });
  const connection = wire(gate.dial('half'));
  connection.socket.setMaxListeners(0);
  const headers = [['Content-Length', String(20 * MB)]] as const;
  await connection.send(requestBytes(gate, { method: 'POST', target: '/bot{token}/sendDocument', headers }));
  void pour(connection.socket, 20 * MB, () => {});
  const [answer] = await connection.until(1);
  assert.equal(answer?.status, 413, connection.text());
  assert.equal(answer?.body.toString(), body);
  connection.close();
  const after = await ask(gate, { target: '/bot{token}/getChat' });
  assert.equal(after.status, 200);
});

/** Serves endless or sized random data as a file; returns how much was handed to the kernel so far. */
function serveFile(up: Awaited<ReturnType<typeof onUpstream>>['up'], name: string, bytes: number) {
  const hash = createHash('sha256');
  const state = { given: 0, sha256: () => hash.digest('hex') };
  up.on(name, (response) => {
    response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': bytes });
    const more = () => {
      while (state.given < bytes) {
        const piece = PIECE.subarray(0, Math.min(PIECE.length, bytes - state.given));
        hash.update(piece);
        state.given += piece.length;
        if (!response.write(piece)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  });
  return state;
}

test(`download, ${DOWNLOAD_MB} MB: whole, in little memory`, async (t) => {
  const { up, gate } = await onUpstream(t);
  await warmUp(gate);
  const file = serveFile(up, 'file_7.bin', DOWNLOAD_MB * MB);
  const grown = watchMemory(gate.pids);
  const socket = gate.dial('inside');
  const hash = createHash('sha256');
  let head = Buffer.alloc(0);
  let bytes = -1;
  socket.on('data', (chunk: Buffer) => {
    if (bytes >= 0) {
      bytes += chunk.length;
      hash.update(chunk);
      return;
    }
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end === -1) return;
    bytes = head.length - end - 4;
    hash.update(head.subarray(end + 4));
    head = head.subarray(0, end);
  });
  socket.write(requestBytes(gate, { target: '/file/bot{token}/documents/file_7.bin' }));
  await until('the whole file', () => bytes >= DOWNLOAD_MB * MB, {
    ms: 60_000,
    seen: () => `${head.toString('latin1')}, ${bytes} bytes`,
  });
  assert.equal(bytes, DOWNLOAD_MB * MB);
  assert.equal(hash.digest('hex'), file.sha256());
  assert.match(head.toString('latin1'), /^HTTP\/1\.1 200 /);
  assert.ok(grown() < MORE_MEMORY_MB, `${grown().toFixed(1)} MB more memory at the peak`);
  socket.destroy();
});

test('download by a worker that does not read: the gateway stops reading, too', async (t) => {
  const { b, up, gate } = await onUpstream(t);
  await warmUp(gate);
  const file = serveFile(up, 'file_8.bin', 1000 * MB);
  const grown = watchMemory(gate.pids);
  const sockets = Array.from({ length: 8 }, () => gate.dial('inside'));
  for (const socket of sockets)
    socket.write(requestBytes(gate, { target: '/file/bot{token}/documents/file_8.bin' }));
  let before = -1;
  await until(
    'the API to be stopped',
    () => {
      const still = file.given === before && before > 0;
      before = file.given;
      return still;
    },
    { ms: 20_000, everyMs: 700 },
  );
  assert.ok(grown() < 2 * MORE_MEMORY_MB, `${grown().toFixed(1)} MB more memory at the peak`);
  assert.equal((await b.status()).worker?.spawns, 1);
  for (const socket of sockets) socket.destroy();
  await until('their end upstream', () => up.of('file_8.bin').every((seen) => seen.goneMs), { ms: 5000 });
  await staysTrue('no more is read', 300, () => file.given === before);
});

test('30 uploads and downloads at once do not mix', async (t) => {
  const { up, gate } = await onUpstream(t);
  up.on('echo', (response, seen) => {
    response.writeHead(200, { 'Content-Type': 'application/octet-stream' });
    response.end(seen.body);
  });
  const bodies = Array.from({ length: 30 }, (_, index) =>
    Buffer.alloc(100_000 + index, String.fromCharCode(65 + index)),
  );
  const answers = await Promise.all(
    bodies.map((body) => ask(gate, { target: '/bot{token}/echo', body, ms: 30_000 })),
  );
  for (const [index, answer] of answers.entries()) {
    assert.equal(answer.status, 200);
    assert.ok(answer.body.equals(bodies[index]!), `answer ${index}`);
  }
  assert.equal(json(await ask(gate, { target: '/bot{token}/getMe' })).ok, true);
});
