// Real libraries and a gunicorn app through the gateway: what a bot does all day, a rival that comes and goes, an API that
// is out of order for a minute. The long waits run side by side.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { type Bed, bed, botFixture, PYTHON, worker } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { assertAnsweredOnce, assertOnePoll, gatewayOf, ourPolls } from '../support/gateway.ts';
import { assertNoToken } from '../support/judge.ts';
import { alive, findByEnv } from '../support/proc.ts';
import { startRival } from '../support/rival.ts';
import { staysTrue, until } from '../support/wait.ts';

const RIVAL_MS = 20_000;
const OUTAGE_MS = 60_000;
/** The longest poll that a library may have open into a dead line (Telegraf: 50 s), and a back-off. */
const RECOVERY_MS = 75_000;

interface RealBot {
  name: string;
  command(b: Bed): string[];
  /** A last getUpdates of its own, when it is stopped, confirms what it has taken. */
  confirms?: true;
}

const nodeBot = (...args: string[]) => [process.execPath, botFixture(args[0] ?? ''), ...args.slice(1)];
const BOTS: RealBot[] = [
  { name: 'grammY', command: () => nodeBot('grammy.mjs'), confirms: true },
  { name: '@grammyjs/runner', command: () => nodeBot('grammy.mjs', 'runner') },
  { name: 'Telegraf', command: () => nodeBot('telegraf.mjs'), confirms: true },
  { name: 'node-telegram-bot-api', command: () => nodeBot('ntba.mjs') },
  { name: 'python-telegram-bot', command: () => [PYTHON, botFixture('ptb.py')] },
  {
    name: 'gunicorn',
    command(b) {
      copyFileSync(worker('gunicorn/app.py'), join(b.project, 'app.py'));
      return ['gunicorn', 'app:app', '--workers=1', '--bind', '127.0.0.1:0'];
    },
  },
];

const PHOTO = Buffer.from(Array.from({ length: 200_000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff));
const DOCUMENT = Buffer.from(
  Array.from({ length: 300_000 }, (_, index) => (index * 13 + (index >> 9)) & 0xff),
);
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

interface Scene {
  b: Bed;
  run: Running;
  /** What the bot itself printed: its own errors, apart from our lines. */
  printed(): string;
  /** Waits for the bot's answer. */
  answered(text: string, ms?: number): Promise<unknown>;
  /** Its process. */
  pid: number;
}

async function play(t: TestContext, bot: RealBot): Promise<Scene> {
  const b = await bed(t);
  b.env.SP_TEST_PHOTO = b.file('photo.png', PHOTO);
  const apart = ['sh', '-c', 'exec "$@" >>bot.out 2>&1', 'sh', ...bot.command(b)];
  const printed = () => {
    const path = join(b.project, 'bot.out');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  };
  b.sandbox.text('/ping');
  const run = await b.polling(['--', ...apart]);
  const seen = () => `${run.seen()}\n--- bot\n${printed().slice(-3000)}`;
  const answered = (text: string, ms?: number) =>
    until(`the answer "${text}"`, () => b.sandbox.sentTexts().includes(text), { ms, seen });
  await answered('pong');
  const status = await b.status();
  gatewayOf(status);
  const pid = status.worker?.pid ?? -1;
  assert.ok(alive(pid));
  return { b, run, printed, answered, pid };
}

/** The worker that began is still the one, nothing of the trouble came through to it. */
async function assertUntroubled(scene: Scene): Promise<void> {
  const { b, pid, printed } = scene;
  const status = await b.status();
  assert.equal(status.worker?.spawns, 1, 'not restarted');
  assert.equal(status.worker?.pid, pid);
  assert.doesNotMatch(printed(), /\b409\b|conflict|\b502\b|bad gateway|ECONNRESET|timed out|error/i);
  assertOnePoll(b);
}

async function upload(b: Bed): Promise<string> {
  const form = new FormData();
  form.set('chat_id', '1');
  form.set('document', new Blob([DOCUMENT]), 'd.bin');
  const response = await fetch(`${b.sandbox.root}/bot${b.token}/sendDocument`, {
    method: 'POST',
    body: form,
  });
  const body = (await response.json()) as { result: { document: { file_id: string } } };
  return body.result.document.file_id;
}

function injectDocument(b: Bed, fileId: string): void {
  const user = { id: 1000, is_bot: false, first_name: 'User' };
  const chat = { id: 1000, first_name: 'User', type: 'private' };
  const document = { file_id: fileId, file_unique_id: fileId, file_name: 'd.bin' };
  const message = { message_id: 900, from: user, chat, date: Math.floor(Date.now() / 1000), document };
  b.sandbox.raw.inject(b.token, { message });
}

async function filesBothWays({ b, answered }: Scene): Promise<void> {
  b.sandbox.text('/photo');
  await answered('the photo');
  const [sent] = b.sandbox.raw.sent.filter((message) => message.method === 'sendphoto');
  assert.deepEqual(
    sent?.uploads.map((file) => [file.bytes, file.sha256]),
    [[PHOTO.length, sha256(PHOTO)]],
  );
  injectDocument(b, await upload(b));
  await answered(`sha256 ${sha256(DOCUMENT)}`);
}

async function stopCleanly(scene: Scene, bot: RealBot): Promise<void> {
  const { b, run, answered, printed } = scene;
  if (bot.confirms) {
    // Stopped in the middle of an update that no poll has confirmed yet.
    b.sandbox.text('/slow');
    await answered('slow begins');
  } else {
    const id = b.sandbox.text('the last one');
    await answered('echo the last one');
    await until('the poll that confirms it', () => ourPolls(b).some((poll) => (poll.offset ?? 0) > id));
  }
  run.signal('SIGTERM');
  const exit = await run.exit();
  assert.equal(exit.code, 0, `${run.seen()}\n--- bot\n${printed()}`);
  assert.equal((await b.sandbox.webhookInfo()).pending_update_count, 0, 'nothing is left unconfirmed');
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  assertOnePoll(b);
  assertNoToken(run.stdout() + run.stderr(), b.token);
}

/** `count` messages over `ms`; gives their texts. Throws when the worker dies meanwhile. */
async function messagesOver({ b, pid }: Scene, word: string, count: number, ms: number): Promise<string[]> {
  const texts = Array.from({ length: count }, (_, index) => `${word} ${index}`);
  for (const text of texts) {
    b.sandbox.text(text);
    await staysTrue('the worker lives', ms / count, () => alive(pid));
  }
  return texts;
}

const echoes = (texts: readonly string[]) => texts.map((text) => `echo ${text}`);

describe('gateway, real bots', { concurrency: 3 }, () => {
  for (const bot of BOTS) {
    test(`gateway: ${bot.name} pings, uploads, downloads, outlives a rival of 20 s and an API out of order for 60 s, stops with all confirmed`, async (t) => {
      const scene = await play(t, bot);
      const { b, run, answered } = scene;
      await filesBothWays(scene);

      const rival = startRival(t, b);
      const texts = await messagesOver(scene, 'fight', 5, RIVAL_MS);
      await rival.leave();
      assert.ok(rival.conflicts >= 2, `the rival was kicked ${rival.conflicts} times`);
      for (const text of echoes(texts)) await answered(text, 30_000);
      b.sandbox.text('peace');
      await answered('echo peace');
      const { conflicts } = gatewayOf(await b.status());
      assert.ok(conflicts.poller >= 2, `${conflicts.poller} conflicts counted`);
      assert.match(run.stderr(), /\[gateway\] another poller/i);

      const { raw } = b.sandbox;
      for (const kind of ['hang', 'html', 'reset'] as const) {
        raw.clearFaults();
        raw.fault({ kind, count: 0 });
        // The poll that was open dies with its line.
        if (kind === 'hang') raw.cutConnections();
        texts.push(...(await messagesOver(scene, kind, 2, OUTAGE_MS / 3)));
      }
      raw.clearFaults();
      for (const text of echoes(texts)) await answered(text, RECOVERY_MS);
      assertAnsweredOnce(b, [...echoes(texts), 'echo peace', 'pong']);
      await assertUntroubled(scene);
      await stopCleanly(scene, bot);
    });
  }
});
