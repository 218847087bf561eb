// A Bot API that costs next to nothing: bytes made beforehand, no HTTP library. Prints its port. It reads uploads to their end,
// and holds getUpdates open until it sends an update, some ms later, whose text is the time of that (ns, the clock of
// process.hrtime). One call at a time on a connection, with a Content-Length, as load.mjs and the gateway send them.
import { createServer } from 'node:net';

const BOT_ID = Number(process.argv[2]);
/** From the arrival of a poll to its update: every one finds the others idle, as updates of a small bot do. */
const UPDATE_AFTER_MS = 12;

const answer = (body) =>
  Buffer.from(
    `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: keep-alive\r\n\r\n${body}`,
  );
const ok = (result) => answer(JSON.stringify({ ok: true, result }));
const answers = {
  getMe: ok({ id: BOT_ID, is_bot: true, first_name: 'Bench', username: 'bench_bot' }),
  getWebhookInfo: ok({ url: '', has_custom_certificate: false, pending_update_count: 0 }),
  sendDocument: ok({ message_id: 1, date: 1, chat: { id: 1000, type: 'private' } }),
};
const yes = ok(true);
let updateId = 1;

function sendUpdate(socket) {
  if (socket.destroyed) return;
  const chat = { id: 1000, type: 'private', first_name: 'Ann' };
  const message = { message_id: updateId, from: { ...chat, is_bot: false }, chat, date: 1_700_000_000 };
  updateId += 1;
  socket.write(ok([{ update_id: updateId, message: { ...message, text: String(process.hrtime.bigint()) } }]));
}

function serve(socket) {
  let head = '';
  let method = '';
  let bodyLeft = 0;
  socket.setNoDelay(true);
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    if (bodyLeft > 0) bodyLeft -= chunk.length;
    else {
      head += chunk.latin1Slice();
      const end = head.indexOf('\r\n\r\n');
      if (end === -1) return;
      method = /^\w+ \/bot[^/]*\/(\w+)/.exec(head)?.[1] ?? '';
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      bodyLeft = length - (head.length - end - 4);
      head = '';
    }
    if (bodyLeft > 0) return;
    bodyLeft = 0;
    if (method === 'getUpdates') setTimeout(sendUpdate, UPDATE_AFTER_MS, socket);
    else socket.write(answers[method] ?? yes);
  });
}

const server = createServer(serve).listen(0, '127.0.0.1', () => console.log(server.address().port));
