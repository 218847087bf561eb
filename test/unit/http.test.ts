/** The health endpoint: which answer a request gets, what the numbers are, what the page shows, and what the socket bears. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { metricsText } from '../../src/http/metrics.ts';
import { PAGE_POLICY, statusPage } from '../../src/http/page.ts';
import { type Answered, type Asked, listenHttp, respond, type Site } from '../../src/http/service.ts';
import { statusRows } from '../../src/output/status-rows.ts';
import { DAY_MS, summarise } from '../../src/supervisor/history.ts';
import { newRecord } from '../../src/supervisor/record.ts';
import type { RunState, StatusDocument } from '../../src/supervisor/status.ts';
import { SAMPLE_NOW_MS, sampleLease, sampleStatus, sampleStray } from '../support/status-sample.ts';

const SITE: Site = {
  loopback: true,
  readiness: () => ({ ready: true, why: 'the worker polls' }),
  metrics: () => 'singlepoll_up 1\n',
  page: (refreshes) => `<p>${refreshes}`,
};

const ask = (target: string, more: Partial<Asked> = {}, site: Partial<Site> = {}) =>
  respond({ method: 'GET', target, host: '127.0.0.1:8080', ...more }, { ...SITE, ...site });

describe('answers', () => {
  test('health, readiness, metrics, page; nothing else is there, and all of it is read-only', () => {
    const not = ask('/readyz', {}, { readiness: () => ({ ready: false, why: 'starting' }) });
    assert.deepEqual([not.status, not.body], [503, 'not ready: starting\n']);
    const answers: [string, number, string, string][] = [
      ['/healthz', 200, 'text/plain; charset=utf-8', 'ok\n'],
      ['/readyz', 200, 'text/plain; charset=utf-8', 'ready: the worker polls\n'],
      ['/metrics', 200, 'text/plain; version=0.0.4; charset=utf-8', 'singlepoll_up 1\n'],
      ['/', 200, 'text/html; charset=utf-8', '<p>true'],
      ['/?refresh=off', 200, 'text/html; charset=utf-8', '<p>false'],
      ['/?x=%', 200, 'text/html; charset=utf-8', '<p>true'],
    ];
    for (const [target, status, type, body] of answers) {
      const answer = ask(target);
      assert.deepEqual([answer.status, answer.headers['Content-Type'], answer.body], [status, type, body]);
      assert.equal(ask(target, { method: 'HEAD' }).status, status);
    }
    const odd = ['/x', '/healthz/', '//', '/..', '/%00', '*', '', 'http://127.0.0.1/metrics', '/Metrics'];
    for (const path of odd) assert.equal(ask(path).status, 404, path);
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE']) {
      const { status, headers } = ask('/', { method });
      assert.deepEqual([status, headers.Allow], [405, 'GET, HEAD'], method);
    }
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

test('a browser that was led here by a name from elsewhere reads nothing; our own names and none do', () => {
  const theirs = 'evil.example evil.example:8080 127.0.0.1.evil.example localhost.evil.example [::1';
  for (const host of [...theirs.split(' '), '']) {
    for (const target of ['/', '/metrics']) assert.equal(ask(target, { host }).status, 421, host);
    assert.equal(ask('/healthz', { host }).status, 200, 'a health check tells nothing');
    assert.equal(ask('/', { host }, { loopback: false }).status, 200, 'seen from outside, as asked for');
  }
  const ours =
    '127.0.0.1:8080 127.0.0.1 localhost:1 LOCALHOST localhost. bot.localhost:80 [::1]:8080 10.0.0.1';
  for (const host of [...ours.split(' '), undefined]) assert.equal(ask('/', { host }).status, 200, host);
});

const RECORD = newRecord({ bot: null, supervisor: sampleStatus().supervisor!, deafAfterMs: 1 }, 'gateway');
const TALLY = { ...RECORD.tally, straysStopped: 9, webhooksCleared: 10, deafReplaced: 11 };
/** What differs with the process that is asked. */
const timeless = (text: string) =>
  text.replace(/^(process_\S+) \d\S*$/gm, '$1 N').replace(/node_version="[^"]+"/, 'node_version="N"');

/** Series → value. Fails where a series comes twice, or before its HELP and TYPE. */
function series(more: Partial<StatusDocument> = {}): Map<string, number> {
  const found = new Map<string, number>();
  const described = new Set<string>();
  const text = metricsText(sampleStatus(more), TALLY);
  assert.ok(text.endsWith('\n'));
  for (const line of text.trimEnd().split('\n')) {
    const [, kind, name] = /^# (HELP|TYPE) (\S+) \S/.exec(line) ?? [];
    if (kind !== undefined) {
      assert.ok(!described.has(`${kind} ${name}`), `${line}: twice`);
      described.add(`${kind} ${name}`);
      continue;
    }
    const [, family, labels = '', value] = /^([a-z_]+)(\{.*\})? (\S+)$/.exec(line) ?? [];
    assert.ok(family !== undefined, `no sample: ${line}`);
    assert.ok(described.has(`HELP ${family}`) && described.has(`TYPE ${family}`), line);
    assert.ok(!found.has(family + labels), `${line}: twice`);
    found.set(family + labels, Number(value));
  }
  return found;
}

describe('metrics', () => {
  test('all of them, as they have always been', () => {
    const alerts = { sent: 3, failed: 1, waiting: 2, lastError: 'hooks.example.com: HTTP 500' };
    const problems = ['stray', 'webhook-set', 'webhook-set'].map((code) => ({ code, message: 'x' }));
    const more = { healthy: false, lease: sampleLease, alerts, problems, strays: [sampleStray] };
    const golden = new URL('../fixtures/metrics.prom', import.meta.url);
    assert.equal(timeless(metricsText(sampleStatus(more), TALLY)), timeless(readFileSync(golden, 'utf8')));
  });

  test('exactly one state is 1, in every state; up is 1 only where a worker does its work', () => {
    for (const state of ['starting', 'standby', 'polling', 'backoff', 'stopping', 'disabled', 'stopped']) {
      const seen = series({ state: state as RunState });
      const ones = [...seen].filter(([name, value]) => name.startsWith('singlepoll_state{') && value === 1);
      assert.deepEqual(ones, [[`singlepoll_state{state="${state}"}`, 1]]);
      assert.equal(seen.get('singlepoll_up'), Number(/polling|disabled/.test(state)), state);
    }
    const dead = { ...sampleStatus().worker!, pid: null };
    assert.equal(series({ state: 'disabled', worker: dead }).get('singlepoll_up'), 0);
  });

  test('what nobody has seen has no sample: no poll yet, no worker, polls past the gateway, deploy mode', () => {
    const { polling, worker } = sampleStatus();
    const none = series({ polling: { ...polling!, lastPollAt: null, latencyMs: null } });
    assert.ok(!none.has('singlepoll_last_poll_success_timestamp_seconds'));
    assert.ok(!none.has('singlepoll_api_latency_seconds'));
    const past = series({ polling: { ...polling!, via: 'direct', polls: 0, updates: 0, lastPollAt: null } });
    assert.ok(!past.has('singlepoll_polls_total') && !past.has('singlepoll_updates_total'));
    assert.equal(past.get('singlepoll_via_gateway'), 0);
    assert.equal(past.get('singlepoll_conflicts_total{kind="poller"}'), 4);
    const dead = series({ worker: { ...worker!, pid: null, startedAt: null, lastExit: null } });
    assert.equal(dead.get('singlepoll_worker_alive'), 0);
    assert.ok(!dead.has('singlepoll_worker_start_time_seconds'));
    const early = series({ bot: null, worker: null, polling: null, webhook: null, state: 'starting' });
    assert.equal(early.get('singlepoll_up'), 0);
    assert.ok(![...early.keys()].some((name) => /bot_info|_worker|_poll|webhook/.test(name)));
  });

  test('a hostile name stays inside its label', () => {
    const username = 'a"} 1\nsinglepoll_up 0\\\u001b[31m';
    const seen = series({ bot: { id: 1, username } });
    assert.equal(seen.get('singlepoll_up'), 1);
    const name = [...seen.keys()].find((it) => it.startsWith('singlepoll_bot_info'));
    assert.match(name ?? '', /username="a\\"\} 1\\\\nsinglepoll_up 0\\\\*\\\\e\[31m"\}$/);
  });
});

const page = (more: Partial<StatusDocument> = {}, refreshes = true): string =>
  statusPage(sampleStatus(more), null, SAMPLE_NOW_MS, refreshes);

/** Without tags and entities. */
const shown = (html: string): string =>
  html
    .replace(/<style>.*<\/style>/s, '')
    .replace(/<[^>]*>/g, '')
    .replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)));

describe('page', () => {
  test('shows every row of status', () => {
    const doc = sampleStatus({ strays: [sampleStray], lease: sampleLease });
    const text = shown(statusPage(doc, null, SAMPLE_NOW_MS, true));
    for (const row of statusRows(doc, SAMPLE_NOW_MS)) {
      assert.ok(text.includes(row.label), row.label);
      for (const line of [row.parts.join(', '), ...row.rest]) assert.ok(text.includes(line), line);
    }
    assert.match(text, /@my_bot \(123456\)/);
    assert.match(text, /as of 2026-11-21 12:00:00 UTC/);
    assert.match(page(), /<meta http-equiv="refresh" content="5">[\s\S]*href="\?refresh=off"/);
    assert.doesNotMatch(page({}, false), /http-equiv="refresh"/);
    // On a telephone a long word is broken, so that the page is no wider than the screen.
    assert.match(
      page(),
      /name="viewport" content="width=device-width[\s\S]*body\{[^}]*overflow-wrap:anywhere/,
    );
  });

  test('the problem and its cure come before everything else, and into the title', () => {
    const html = page({
      healthy: false,
      problems: [{ code: 'webhook-set', message: 'somebody set a webhook', hint: 'singlepoll who' }],
    });
    const text = shown(html.slice(html.indexOf('<body>')));
    assert.ok(text.indexOf('somebody set a webhook') < text.indexOf('supervisor'));
    assert.ok(text.indexOf('→ singlepoll who') < text.indexOf('supervisor'));
    assert.match(html, /<title>1 problem, polling · @my_bot/);
    assert.match(html, /class="state bad"/);
    assert.doesNotMatch(shown(page()), /problem/);
    assert.match(page(), /class="state good"/);
    assert.match(page({ state: 'standby' }), /class="state calm"/);
  });

  test('whatever anybody calls itself is text', () => {
    const evil = `"><script>alert(1)</script><img src=x onerror='x'>&amp;\u202e\u0000`;
    const doc = sampleStatus({
      bot: { id: 1, username: evil },
      healthy: false,
      problems: [{ code: evil, message: evil, hint: evil }],
      supervisor: { pid: 1, startedAt: null, version: evil, command: [evil], cwd: evil },
      webhook: { url: evil, pendingUpdates: 0, lastError: evil, checkedAt: evil },
      strays: [{ ...sampleStray, command: evil, cwd: evil, user: evil, proof: [evil], respawner: null }],
      lease: { ...sampleLease, mine: false, holder: evil, engine: evil },
    });
    const span = { fromMs: SAMPLE_NOW_MS - 60_000, untilMs: SAMPLE_NOW_MS, lastedMs: 60_000, times: 1 };
    const history = { version: 1, untilMs: SAMPLE_NOW_MS, minutes: `${'p'.repeat(800)}g`, end: null };
    const open = { ...span, state: 'gap', cause: evil } as const;
    const day = summarise({ ...history, spans: [], open }, DAY_MS);
    const html = statusPage(doc, day, SAMPLE_NOW_MS, true);
    const widths = [...html.matchAll(/<rect [^>]*width="(\d+)"/g)].map((it) => Number(it[1]));
    assert.deepEqual([widths.length, widths.reduce((a, b) => a + b)], [3, 288]);
    assert.match(html, /<rect class="unknown".*<rect class="polled".*<rect class="gap"/);
    assert.match(shown(html), /gap 60 s Sat 11:59:00 until now: "><script>/);
    const tags = new Set([...html.matchAll(/<([a-z0-9]+)/g)].map((it) => it[1]));
    for (const tag of ['script', 'img']) assert.ok(!tags.has(tag), tag);
    assert.doesNotMatch(html, /<[^>]*onerror/);
    assert.doesNotMatch(html, /[\u0000\u202e]/);
    // Every tag is one of ours: none was opened or closed by a text.
    const parts = (at: RegExp | string) => html.split(at).length;
    for (const tag of ['li', 'dd', 'dt', 'strong', 'h1', 'title'])
      assert.equal(parts(RegExp(`<${tag}[ >]`)), parts(`</${tag}>`), tag);
  });

  test('a crowd of strays does not make a page without an end', () => {
    const strays = Array.from({ length: 5_000 }, (_, index) => ({ ...sampleStray, pid: 1_000 + index }));
    const html = page({ strays });
    assert.ok(html.length < 60_000, String(html.length));
    assert.match(shown(html), /and \d+ more; singlepoll status shows them/);
  });

  test('the policy lets in the style of the page and nothing else; nothing comes from elsewhere', () => {
    const html = page({ lease: sampleLease });
    const style = /<style>(.*)<\/style>/s.exec(html)?.[1] ?? '';
    const hash = createHash('sha256').update(style).digest('base64');
    assert.match(PAGE_POLICY, /^default-src 'none'; style-src 'sha256-/);
    assert.ok(PAGE_POLICY.includes(`'sha256-${hash}'`));
    assert.doesNotMatch(PAGE_POLICY, /unsafe|\*|https?:/);
    assert.doesNotMatch(html, /<script|\sstyle=|url\(|@import/);
    for (const [, link] of html.matchAll(/(?:href|src)="([^"]*)"/g))
      assert.match(link ?? '', /^(\?refresh=off|metrics)$/);
  });
});

const OK: Answered = { status: 200, headers: { 'Content-Type': 'text/plain' }, body: 'é\n' };

async function open(t: TestContext, answer: () => Answered): Promise<(text: string) => Promise<string>> {
  const listening = await listenHttp({ host: '127.0.0.1', port: 0 }, answer);
  t.after(() => listening.close());
  return (text) =>
    new Promise((resolve) => {
      const socket = connect(listening.address.port, '127.0.0.1');
      let got = '';
      socket.on('data', (chunk) => {
        got += chunk.toString();
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve(got));
      socket.write(text);
    });
}

test('one answer a connection, its length in bytes, none for a HEAD; a mistake of ours is a 500 without a word of what it was', async (t) => {
  let looked = 0;
  const ask = await open(t, () => {
    looked += 1;
    if (looked > 3) throw new Error('secret');
    return OK;
  });
  await ask('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(500));
  assert.equal(looked, 1, 'what is sent behind the first request is not even looked up');
  assert.match(await ask('GET / HTTP/1.1\r\n\r\n'), /Content-Length: 3\r\n.*\r\n\r\né\n$/s);
  assert.match(await ask('HEAD / HTTP/1.1\r\n\r\n'), /Content-Length: 3\r\n.*\r\n\r\n$/s);
  const failed = await ask('GET / HTTP/1.1\r\n\r\n');
  assert.match(failed, /^HTTP\/1\.1 500 /);
  assert.doesNotMatch(failed, /secret/);
});
