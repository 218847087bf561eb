/** Which answer a request gets. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { RunState } from '../../src/core/status.ts';
import { readiness } from '../../src/http/ready.ts';
import { type Asked, respond, type Site } from '../../src/http/respond.ts';
import { sampleStatus } from '../support/status-sample.ts';

const SITE: Site = {
  loopback: true,
  readiness: () => ({ ready: true, why: 'the worker polls' }),
  metrics: () => 'singlepoll_up 1\n',
  page: (refreshes) => `<p>${refreshes}`,
};

const ask = (target: string, more: Partial<Asked> = {}, site: Partial<Site> = {}) =>
  respond({ method: 'GET', target, host: '127.0.0.1:8080', ...more }, { ...SITE, ...site });

describe('answers', () => {
  test('health, readiness, metrics, page', () => {
    assert.deepEqual([ask('/healthz').status, ask('/healthz').body], [200, 'ok\n']);
    assert.deepEqual([ask('/readyz').status, ask('/readyz').body], [200, 'ready: the worker polls\n']);
    const not = ask('/readyz', {}, { readiness: () => ({ ready: false, why: 'starting' }) });
    assert.deepEqual([not.status, not.body], [503, 'not ready: starting\n']);
    assert.equal(ask('/metrics').headers['Content-Type'], 'text/plain; version=0.0.4; charset=utf-8');
    assert.equal(ask('/').headers['Content-Type'], 'text/html; charset=utf-8');
    assert.equal(ask('/').body, '<p>true');
    assert.equal(ask('/?refresh=off').body, '<p>false');
    assert.equal(ask('/?x=%').status, 200);
  });
  test('health is said also where the supervisor is not ready', () =>
    assert.equal(ask('/healthz', {}, { readiness: () => ({ ready: false, why: '' }) }).status, 200));
  test('read-only', () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE']) {
      const { status, headers } = ask('/', { method });
      assert.equal(status, 405, method);
      assert.equal(headers.Allow, 'GET, HEAD');
    }
    assert.equal(ask('/metrics', { method: 'HEAD' }).status, 200);
  });
  test('nothing else is there', () => {
    for (const path of [
      '/x',
      '/healthz/',
      '//',
      '/..',
      '/%00',
      '*',
      '',
      'http://127.0.0.1/metrics',
      '/Metrics',
    ])
      assert.equal(ask(path).status, 404, path);
  });
  test('every answer forbids to be kept, guessed at, framed', () => {
    for (const target of ['/', '/healthz', '/metrics', '/nothing']) {
      const { headers } = ask(target);
      assert.equal(headers['Cache-Control'], 'no-store');
      assert.equal(headers['X-Content-Type-Options'], 'nosniff');
      assert.match(headers['Content-Security-Policy'] ?? '', /default-src 'none'.*frame-ancestors 'none'/);
    }
  });
});

describe('a browser that was led here by a name from elsewhere', () => {
  const named = [
    'evil.example',
    'evil.example:8080',
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    '',
    '[::1',
  ];
  const ours = [
    '127.0.0.1:8080',
    '127.0.0.1',
    'localhost:1',
    'LOCALHOST',
    'localhost.',
    'bot.localhost:80',
    '[::1]:8080',
    '10.0.0.1',
  ];
  for (const host of named)
    test(`"${host}" reads nothing`, () => {
      for (const target of ['/', '/metrics']) assert.equal(ask(target, { host }).status, 421);
      assert.equal(ask('/healthz', { host }).status, 200, 'a health check tells nothing');
      assert.equal(ask('/', { host }, { loopback: false }).status, 200, 'seen from outside, as asked for');
    });
  for (const host of ours) test(`"${host}" is us`, () => assert.equal(ask('/', { host }).status, 200));
  test('no name: no browser', () => assert.equal(ask('/metrics', { host: undefined }).status, 200));
});

describe('ready', () => {
  const worker = sampleStatus().worker!;
  const dead = { ...worker, pid: null };
  const cases: [RunState, typeof worker | null, boolean, boolean][] = [
    ['polling', worker, true, true],
    ['starting', worker, true, false],
    ['backoff', dead, true, false],
    ['stopping', worker, true, false],
    ['stopped', null, true, false],
    ['standby', dead, true, true],
    ['standby', null, false, false],
    ['disabled', worker, false, true],
    ['disabled', dead, true, false],
    ['disabled', null, true, false],
  ];
  for (const [state, present, inStandby, ready] of cases)
    test(`${state}, ${present?.pid ? 'a worker' : 'no worker'}, in standby ${inStandby}: ${ready}`, () => {
      const answer = readiness({ state, worker: present }, inStandby);
      assert.equal(answer.ready, ready);
      assert.notEqual(answer.why, '');
    });
});
