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
import type { Sandbox } from '../../src/sandbox/actions.ts';
import { serveConsole } from '../../src/sandbox/actions.ts';
import { prepareDemo } from '../../src/sandbox/demo.ts';
import { startSandbox } from '../../src/sandbox/server.ts';
import { until } from '../support/wait.ts';

const script = (name: string) => fileURLToPath(new URL(`../../src/sandbox/${name}.ts`, import.meta.url));
const TSX = ['--import', import.meta.resolve('tsx')];

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
  it('polls, answers, rides out a conflict, confirms and exits 0 on SIGTERM', async () => {
    const sandbox = await ownSandbox();
    const { token } = sandbox;
    const env = { POLLING_ENABLED: '1', TELEGRAM_BOT_TOKEN: token, TELEGRAM_API_ROOT: `${sandbox.root}/` };
    const { child, output } = run('sample-bot', env);
    await until('polls', () => sandbox.log.some(({ method }) => method === 'getUpdates'));
    const id = sandbox.injectText(token, '/ping');
    sandbox.injectText(token, 'echo me');
    await until('answers', () => sandbox.sent.length === 2);
    assert.deepEqual(
      sandbox.sent.map(({ text }) => text),
      ['pong', 'echo me'],
    );
    assert.ok(output().includes(`update ${id}: /ping\n`));

    await until('polls again', () => sandbox.log.at(-1)?.offset === id + 2);
    await fetch(`${sandbox.root}/bot${token}/getUpdates?timeout=1`);
    await until('the conflict', () => output().includes('409 Conflict: terminated by other getUpdates'));
    await until('polls after the conflict', () => {
      const last = sandbox.log.at(-1);
      return last?.offset === id + 2 && last.endedAtMs === null;
    });
    child.kill('SIGTERM');
    assert.deepEqual(await exit(child), [0, null]);
    const last = sandbox.log.at(-1);
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
    const { sandbox, strayPid } = demo;
    const pending = () => sandbox.bots()[0]?.state().pendingUpdates ?? 0;
    assert.equal(sandbox.bots()[0]?.state().webhook, 'https://old-host.example/telegram/hook');
    assert.ok(pending() >= 3);
    assert.ok(alive(strayPid));
    const polls = () => sandbox.log.filter(({ method }) => method === 'getUpdates');
    await until('the stray retries', () => polls().length >= 2);
    assert.equal(new Set(polls().map(({ remotePort }) => remotePort)).size, 1, 'one kept connection');
    const before = pending();
    await until('new messages come', () => pending() >= before + 2);
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
    const done = serveConsole(sandbox, input, (line) => said.push(line));
    const type = async (line: string, answer: RegExp) => {
      const before = said.length;
      input.write(`${line}\n`);
      await until(`an answer to ${line}`, () => said.slice(before).some((text) => answer.test(text)), {
        seen: () => said.slice(before).join('\n'),
      });
    };
    return { sandbox, input, done, type };
  }

  it('do what they say', async () => {
    const { sandbox, input, done, type } = await typing();
    const call = (method: string) => fetch(`${sandbox.root}/bot${sandbox.token}/${method}`);
    await type('hello', /"update_id":\d+/);
    await type('{"chat_member":{}}', /kept out by allowed_updates/);
    await type('!502 getMe 2', /"status":502/);
    assert.deepEqual(
      [(await call('getMe')).status, (await call('getMe')).status, (await call('getMe')).status],
      [502, 502, 200],
    );
    await type('!hang *', /"count":0/);
    await type('!clear', /^\[\]$/);
    await type('!webhook https://a.example/x', /Webhook was set/);
    assert.equal((await call('getUpdates')).status, 409);
    await type('!webhook', /Webhook was deleted/);
    await type('!log 2', /getUpdates → 409 Conflict: can't use/);
    await type('!bots', /"username":"sandbox_/);
    await type('@1 hello', /no bot 1 here/);
    await type('!what', /no such command/);
    await type('!help', /!rival/);
    await type('!revoke', /"revoked":true/);
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
    await type('!rival 1', /"conflicts":0/);
    assert.equal((await waiting).status, 409);
    input.end();
    await done;
  });
});
