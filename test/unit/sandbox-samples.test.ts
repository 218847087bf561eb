/**
 * The programs that come with the sandbox, as real processes: the sample bot, the stray of the rehearsal, the scene, and
 * what typed lines do.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { prepareDemo } from '../../src/sandbox/demo.ts';
import { rehearse } from '../../src/sandbox/rehearse.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/server.ts';

const script = (name: string) => fileURLToPath(new URL(`../../src/sandbox/${name}.ts`, import.meta.url));
const TSX = ['--import', import.meta.resolve('tsx')];
const DEADLINE_MS = 15_000;

const children: ChildProcess[] = [];
const sandboxes: { close(): Promise<void> }[] = [];
after(async () => {
  for (const child of children)
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  for (const one of sandboxes) await one.close();
});

async function ownSandbox(): Promise<Sandbox> {
  const sandbox = await startSandbox();
  sandboxes.push(sandbox);
  return sandbox;
}

function run(name: string, env: Record<string, string>) {
  const child = spawn(process.execPath, [...TSX, script(name)], {
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  let output = '';
  child.stdout?.on('data', (data: Buffer) => {
    output += data.toString();
  });
  return { child, output: () => output };
}

async function until(what: string, holds: () => boolean, detail: () => unknown = () => ''): Promise<void> {
  const deadlineMs = performance.now() + DEADLINE_MS;
  while (!holds()) {
    assert.ok(performance.now() < deadlineMs, `never: ${what} ${String(detail())}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function exit(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return [child.exitCode, child.signalCode];
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('sample bot', () => {
  it('polls on one connection, answers, rides out a conflict, confirms and exits 0 on SIGTERM', async () => {
    const sandbox = await ownSandbox();
    const { token } = sandbox;
    const env = { POLLING_ENABLED: '1', TELEGRAM_BOT_TOKEN: token, TELEGRAM_API_ROOT: `${sandbox.root}/` };
    const { child, output } = run('sample-bot', env);
    await until('polls', () => sandbox.log.some(({ method }) => method === 'getUpdates'), output);
    const id = sandbox.injectText(token, '/ping');
    sandbox.injectText(token, 'echo me');
    await until('answers', () => sandbox.sent.length === 2, output);
    assert.deepEqual(
      sandbox.sent.map(({ text }) => text),
      ['pong', 'echo me'],
    );
    assert.ok(output().includes(`update ${id}: /ping\n`));
    assert.equal(new Set(sandbox.log.map(({ remotePort }) => remotePort)).size, 1, 'one connection');

    await until('polls again', () => sandbox.log.at(-1)?.offset === id + 2);
    await fetch(`${sandbox.root}/bot${token}/getUpdates?timeout=1`);
    await until(
      'prints the conflict',
      () => output().includes('409 Conflict: terminated by other getUpdates'),
      output,
    );
    const conflicted = sandbox.log.find(({ status }) => status === 409);
    await until('polls after the conflict', () =>
      sandbox.log.some(
        (later) => later.id > (conflicted?.id ?? 0) && later.remotePort === conflicted?.remotePort,
      ),
    );

    child.kill('SIGTERM');
    assert.deepEqual(await exit(child), [0, null]);
    const last = sandbox.log.at(-1);
    assert.equal(last?.method, 'getUpdates');
    assert.deepEqual(last?.params, { offset: String(id + 2), limit: '1', timeout: '0' });
    assert.ok(!output().includes(token.split(':')[1] ?? ''));
  });

  it('asks nothing when POLLING_ENABLED is not 1, and stops on SIGTERM', async () => {
    const sandbox = await ownSandbox();
    const env = { POLLING_ENABLED: '0', TELEGRAM_BOT_TOKEN: sandbox.token, TELEGRAM_API_ROOT: sandbox.root };
    const { child, output } = run('sample-bot', env);
    await until('says that it idles', () => output().includes('idle'));
    child.kill('SIGTERM');
    assert.deepEqual(await exit(child), [0, null]);
    assert.equal(sandbox.log.length, 0);
  });

  it('exits 1 on a refused token', async () => {
    const sandbox = await ownSandbox();
    sandbox.revoke(sandbox.token);
    const env = { POLLING_ENABLED: '1', TELEGRAM_BOT_TOKEN: sandbox.token, TELEGRAM_API_ROOT: sandbox.root };
    const { child } = run('sample-bot', env);
    assert.deepEqual(await exit(child), [1, null]);
  });
});

describe('the rehearsal scene', () => {
  it('has a webhook, updates waiting and a stray that polls, and leaves nothing behind', async () => {
    const demo = await prepareDemo({
      strayScript: script('sample-stray'),
      nodeArgs: TSX,
      messageEveryMs: 50,
    });
    sandboxes.push(demo);
    const { sandbox, token, strayPid } = demo;
    const info = (await (await fetch(`${demo.root}/bot${token}/getWebhookInfo`)).json()) as {
      result: { url: string; pending_update_count: number };
    };
    assert.equal(info.result.url, 'https://old-host.example/telegram/hook');
    assert.ok(info.result.pending_update_count >= 3);
    assert.ok(alive(strayPid));
    await until(
      'the stray retries',
      () => sandbox.log.filter(({ method }) => method === 'getUpdates').length >= 2,
    );
    const polls = sandbox.log.filter(({ method }) => method === 'getUpdates');
    assert.equal(new Set(polls.map(({ remotePort }) => remotePort)).size, 1, 'one kept connection');
    const pending = async () => {
      const fresh = await fetch(`${demo.root}/bot${token}/getWebhookInfo`);
      return ((await fresh.json()) as typeof info).result.pending_update_count;
    };
    const deadlineMs = performance.now() + DEADLINE_MS;
    while ((await pending()) < info.result.pending_update_count + 2)
      assert.ok(performance.now() < deadlineMs, 'new messages come');
    await demo.close();
    assert.ok(!alive(strayPid), 'the stray is gone');
  });

  it('fails with nothing left when the stray does not start', async () => {
    await assert.rejects(prepareDemo({ strayScript: '/nonexistent/stray.cjs' }), /ended before it polled/);
  });

  it('the stray ends by itself when its API is gone', async () => {
    const sandbox = await ownSandbox();
    const env = { TELEGRAM_BOT_TOKEN: sandbox.token, TELEGRAM_API_ROOT: sandbox.root };
    const { child } = run('sample-stray', env);
    await until('polls', () => sandbox.log.length > 0);
    await sandbox.close();
    assert.deepEqual(await exit(child), [0, null]);
  });
});

describe('typed lines', () => {
  async function typing() {
    const sandbox = await ownSandbox();
    const input = new PassThrough();
    const said: string[] = [];
    const done = rehearse(sandbox, input, (line) => said.push(line));
    const type = async (line: string, answer: RegExp) => {
      const before = said.length;
      input.write(`${line}\n`);
      await until(
        `an answer to ${line}`,
        () => said.slice(before).some((text) => answer.test(text)),
        () => said.slice(before),
      );
    };
    return { sandbox, input, done, type, said };
  }

  it('do what they say', async () => {
    const { sandbox, input, done, type } = await typing();
    const call = (method: string) => fetch(`${sandbox.root}/bot${sandbox.token}/${method}`);
    await type('hello', /^update \d+ queued$/);
    await type('{"chat_member":{}}', /kept out/);
    await type('!502 getMe 2', /fault status 502 on getMe, 2×/);
    assert.deepEqual(
      [(await call('getMe')).status, (await call('getMe')).status, (await call('getMe')).status],
      [502, 502, 200],
    );
    await type('!hang *', /until !clear/);
    await type('!clear', /no faults/);
    await type('!webhook https://a.example/x', /Webhook was set/);
    assert.equal((await call('getUpdates')).status, 409);
    await type('!webhook', /Webhook was deleted/);
    await type('!log 2', /getUpdates → 409 Conflict: can't use/);
    await type('!bots', /^\d+ @sandbox_/);
    await type('@1 hello', /no bot 1 here/);
    await type('!what', /no such command/);
    await type('!help', /!rival/);
    await type('!revoke', /refused/);
    assert.equal((await call('getMe')).status, 401);
    input.end();
    await done;
  });

  it('end quietly when the terminal goes away', async () => {
    const { sandbox, input, done, type } = await typing();
    await type('!bots', /sandbox_/);
    input.destroy(new Error('read EIO'));
    await done;
    assert.equal((await fetch(`${sandbox.root}/bot${sandbox.token}/getMe`)).status, 200);
  });

  it('play a rival that a poller feels', async () => {
    const { sandbox, input, done, type } = await typing();
    const waiting = fetch(`${sandbox.root}/bot${sandbox.token}/getUpdates?timeout=30`);
    await until('the poll waits', () => sandbox.log.length === 1);
    await type('!rival 1', /the rival has left: \d+ polls/);
    assert.equal((await waiting).status, 409);
    input.end();
    await done;
  });
});
