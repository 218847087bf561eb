/** What the worker finds in its environment. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { workerEnv } from '../../src/supervisor/worker.ts';

const TOKEN = `123456:${'A'.repeat(35)}`;
const REAL = `654321:${'B'.repeat(35)}`;
const config = {
  envFileVars: { FROM_FILE: 'yes', BOTH: 'file' },
  polling: true,
  token: TOKEN,
  botId: 123456,
  sandbox: false,
  tokenVariables: ['BOT_TOKEN'],
};
const given = { apiRoot: 'http://127.0.0.1:1', token: TOKEN, epoch: null };

test('everything that singlepoll got, the env file behind it, and its own names', () => {
  const env = workerEnv(config, { BOTH: 'environment', SINGLEPOLL_RUN: 'outer' }, 'run1', 3, given);
  assert.deepEqual(env, {
    FROM_FILE: 'yes',
    BOTH: 'environment',
    POLLING_ENABLED: '1',
    PYTHONUNBUFFERED: '1',
    SPT_NOENV: '1',
    TELEGRAM_API_ROOT: 'http://127.0.0.1:1',
    TELEGRAM_BOT_TOKEN: TOKEN,
    SINGLEPOLL_BOT: '123456',
    SINGLEPOLL_RUN: 'run1',
    SINGLEPOLL_SPAWN: '3',
  });
});

test('deploy mode says so, and needs no bot', () => {
  const env = workerEnv({ ...config, polling: false, token: null, botId: null }, {}, 'r', 1, {
    ...given,
    token: null,
  });
  assert.equal(env.POLLING_ENABLED, '0');
  assert.equal('TELEGRAM_BOT_TOKEN' in env, false);
  assert.equal('SINGLEPOLL_BOT' in env, false);
});

test('in a term of a lease, its fencing number', () => {
  const env = workerEnv(config, {}, 'r', 1, { ...given, epoch: 1_795_000_000 });
  assert.equal(env.SINGLEPOLL_EPOCH, '1795000000');
  assert.equal('SINGLEPOLL_EPOCH' in workerEnv(config, {}, 'r', 1, given), false);
});

test('in the sandbox no variable leads to the real bot', () => {
  const env = workerEnv({ ...config, sandbox: true }, { BOT_TOKEN: REAL }, 'r', 1, given);
  assert.equal(env.BOT_TOKEN, TOKEN);
  assert.equal(JSON.stringify(env).includes(REAL), false);
});

test('sealed: the real token is in no variable, not even in the midst of one', () => {
  const sealed = `123456:${'S'.repeat(35)}`;
  const inherited = { BOT_TOKEN: TOKEN, HOOK: `https://example.com/bot${TOKEN}/x`, OTHER: REAL };
  const whole = { ...config, envFileVars: { TELEGRAM_TOKEN: TOKEN } };
  const env = workerEnv(whole, inherited, 'r', 1, { ...given, token: sealed });
  assert.equal(JSON.stringify(env).includes(TOKEN), false);
  assert.equal(env.BOT_TOKEN, sealed);
  assert.equal(env.TELEGRAM_TOKEN, sealed);
  assert.equal(env.HOOK, `https://example.com/bot${sealed}/x`);
  assert.equal(env.OTHER, REAL);
});
