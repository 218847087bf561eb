/** What people and services get: text, bodies by preset, the difference that makes an alert, and the digest. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { postOf } from '../../src/alert/bodies.ts';
import { judge } from '../../src/alert/deliver.ts';
import { alertMessage, digestMessage, type Message } from '../../src/alert/message.ts';
import type { AlertPreset } from '../../src/config/targets.ts';
import { digestLines } from '../../src/core/digest.ts';
import { happenings, isWell, type Look, type Tally } from '../../src/core/happenings.ts';
import { SAMPLE_NOW_MS, sampleLease, sampleStatus } from '../support/status-sample.ts';

const TOKEN = '123456:AAbbCCddEEffGGhhIIjjKKllMMnnOOppQQr';
const FROM = { bot: '@my_bot', botId: 123456, host: 'box', secrets: [TOKEN] };
const MESSAGE = alertMessage(
  {
    kind: 'crash-loop',
    text: '11 exits of the worker within 5 min; singlepoll has given up (exit 1)',
    hint: 'singlepoll start',
    lines: ['Traceback <main> & so on', `token is ${TOKEN}`, '*bold* \u001b[31m @everyone'],
    atUnixMs: SAMPLE_NOW_MS,
    more: 2,
    moreInMs: 720_000,
  },
  FROM,
);
const body = (format: AlertPreset, url = 'https://example.com/hook', message: Message = MESSAGE) => {
  const post = postOf(message, { url, format });
  return { ...post, json: JSON.parse(post.body) as Record<string, unknown> };
};

describe('text', () => {
  test('what, when, how often, the last lines, the next command; no token and nothing that steers a terminal', () => {
    assert.equal(MESSAGE.title, 'crash loop: @my_bot on box');
    assert.deepEqual(MESSAGE.message.split('\n'), [
      '11 exits of the worker within 5 min; singlepoll has given up (exit 1)',
      'at 2026-11-21 12:00:00 UTC',
      'and 2 times more in the last 12 min',
      'its last lines:',
      '| Traceback <main> & so on',
      '| token is 123456:…',
      '| *bold* \\e[31m @everyone',
      'next: singlepoll start',
    ]);
  });
});

describe('bodies', () => {
  test('json has every part', () => {
    const { json, contentType } = body('json');
    assert.equal(contentType, 'application/json');
    assert.deepEqual(json, { ...MESSAGE, text: `${MESSAGE.title}\n${MESSAGE.message}` });
  });
  test('slack: text with three entities, no markup', () => {
    const { json } = body('slack');
    assert.equal(json.mrkdwn, false);
    assert.match(String(json.text), /^crash loop: @my_bot on box\n[\s\S]*Traceback &lt;main&gt; &amp; so on/);
  });
  test('discord: at most 2000 characters, pings nobody, markdown escaped', () => {
    const { json } = body('discord');
    assert.deepEqual(json.allowed_mentions, { parse: [] });
    assert.match(String(json.content), /\\\*bold\\\*/);
    for (const [filler, units] of [
      ['*', 2],
      ['🌊', 2],
      ['x', 1],
    ] as const)
      for (const shift of ['', 'a']) {
        const long = { ...MESSAGE, message: shift + filler.repeat(3_000) };
        const content = String(body('discord', undefined, long).json.content);
        assert.ok(content.length <= 2_000 && content.length >= 1_999 - units, `${filler} ${content.length}`);
        assert.doesNotMatch(content, /(^|[^\\])(\\\\)*\\…$/);
        assert.doesNotMatch(content, /\p{Surrogate}/u);
      }
  });
  test('ntfy: JSON to the root, the topic in the body', () => {
    const { json, url } = body('ntfy', 'https://user:pass@push.example.com/my%2Dtopic/?x=1');
    assert.equal(url.href, 'https://user:pass@push.example.com/?x=1');
    assert.equal(json.topic, 'my-topic');
    assert.equal(json.title, MESSAGE.title);
    assert.equal(json.message, MESSAGE.message);
    assert.deepEqual([json.priority, json.tags], [4, ['warning']]);
    const long = { ...MESSAGE, message: 'ü'.repeat(5_000) };
    const cut = String(body('ntfy', 'https://ntfy.sh/t', long).json.message);
    assert.ok(Buffer.byteLength(cut) <= 4_000 && /^ü+…$/.test(cut));
  });
});

test('answers of a URL: what is tried again, after how long, and what never works', () => {
  const kind = (status: number, text = '', retryAfter: string | null = null) => {
    const it = judge(status, text, retryAfter);
    return it.kind === 'later' ? `later ${it.afterMs}` : it.kind;
  };
  assert.deepEqual(
    [200, 204].map((it) => kind(it)),
    ['ok', 'ok'],
  );
  assert.deepEqual(
    [301, 400, 401, 403, 404, 410].map((it) => kind(it)),
    Array(6).fill('never'),
  );
  assert.deepEqual(
    [408, 425, 429, 500, 502, 503].map((it) => kind(it)),
    Array(6).fill('later null'),
  );
  assert.equal(kind(429, '', '7'), 'later 7000');
  assert.equal(kind(429, '{"retry_after": 0.5}'), 'later 500');
  assert.equal(kind(429, '', '999999'), 'later 3600000');
});

const TALLY: Tally = {
  ...{
    straysStopped: 0,
    webhookSetAgain: 0,
    deafReplaced: 0,
    leasesTaken: 0,
    leasesLost: 0,
    ends: {},
    pollingMs: 0,
  },
  ...{
    lastStray: null,
    lastWebhook: null,
    lastLeaseLoss: null,
    lastHolder: null,
    contested: false,
    rivalElsewhere: false,
  },
};
const look = (tally: Partial<Tally> = {}, doc: Parameters<typeof sampleStatus>[0] = {}): Look => ({
  doc: sampleStatus(doc),
  tally: { ...TALLY, ...tally },
  unixMs: SAMPLE_NOW_MS,
});
const kinds = (before: Look, after: Look) => happenings(before, after).map(({ kind }) => kind);
const RIVAL = {
  problems: [{ code: 'rival', message: 'a rival takes the poll: 3 conflicts', hint: 'stop it' }],
};
const CONFLICT = { problems: [{ code: 'conflict', message: 'somebody else polls' }] };

describe('what has happened', () => {
  test('nothing', () => assert.deepEqual(kinds(look(), look({ pollingMs: 5 })), []));
  test('counters that rise', () => {
    const after = look({
      straysStopped: 1,
      webhookSetAgain: 2,
      deafReplaced: 1,
      leasesLost: 1,
      lastStray: 'pid 9 (x)',
    });
    assert.deepEqual(kinds(look(), after), ['stray-stopped', 'webhook-set', 'deaf', 'lease-lost']);
    assert.match(happenings(look(), after)[0]?.text ?? '', /^a stray poller was stopped: pid 9 \(x\)$/);
  });
  test('updates that somebody else has taken: as many as are new', () => {
    const polling = { ...look().doc.polling!, stolen: 12 };
    assert.deepEqual(kinds(look(), look()), []);
    assert.match(happenings(look(), look({}, { polling }))[0]?.text ?? '', /^3 updates were probably taken/);
  });
  test('a rival: once, also without a gateway; not where the end tells of it', () => {
    assert.deepEqual(kinds(look(), look({}, RIVAL)), ['rival']);
    assert.deepEqual(kinds(look({}, RIVAL), look({}, RIVAL)), []);
    assert.deepEqual(kinds(look({}, CONFLICT), look({ rivalElsewhere: true }, CONFLICT)), ['rival']);
    assert.deepEqual(kinds(look(), look({}, CONFLICT)), []);
    assert.deepEqual(kinds(look(), look({}, { ...RIVAL, state: 'stopping' })), []);
  });
  test("a lease that was another's", () => {
    const taken = look({ leasesTaken: 1, lastHolder: 'box-b:1' }, { lease: sampleLease });
    assert.deepEqual(kinds(look(), taken), ['lease-taken']);
    assert.match(happenings(look(), taken)[0]?.text ?? '', /from box-b:1 \(epoch 7\)/);
  });
  test('what is well', () => {
    assert.equal(isWell(look()), true);
    assert.equal(isWell(look({}, { problems: [{ code: 'webhook-set', message: 'of the past' }] })), true);
    assert.equal(isWell(look({}, { problems: [{ code: 'alerts', message: 'not delivered' }] })), true);
    assert.equal(isWell(look({}, RIVAL)), false);
    assert.equal(isWell(look({ contested: true })), false);
    assert.equal(
      isWell(look({}, { webhook: { url: 'https://x', pendingUpdates: 0, lastError: null } })),
      false,
    );
    for (const state of ['starting', 'backoff', 'stopping', 'stopped'] as const)
      assert.equal(isWell(look({}, { state })), false);
    assert.equal(isWell(look({}, { state: 'standby', lease: { ...sampleLease, mine: false } })), true);
    assert.equal(
      isWell(look({}, { state: 'standby', lease: { ...sampleLease, mine: false, holder: null } })),
      false,
    );
  });
});

test('the digest counts since the last one', () => {
  const DAY = 86_400_000;
  const since = {
    ...look({ straysStopped: 4, ends: { 'with code 1': 2 }, pollingMs: 1_000, deafReplaced: 1 }),
    unixMs: SAMPLE_NOW_MS - DAY,
  };
  const now = look(
    {
      ...{ straysStopped: 5, webhookSetAgain: 1, deafReplaced: 2, pollingMs: DAY - 60_000 },
      ends: { 'with code 1': 4, 'by SIGKILL': 1, 'on request': 3 },
    },
    {
      worker: { ...sampleStatus().worker!, restarts: 8 },
      polling: {
        ...sampleStatus().polling!,
        polls: 2_920,
        updates: 160,
        conflicts: { poller: 6, webhook: 1 },
      },
      alerts: { sent: 3, failed: 0, waiting: 0, lastError: null },
    },
  );
  assert.deepEqual(digestLines(since, { ...now, nodeVersion: 'v20.20.0' }), [
    'in the last 24 h: polled 99.92 % of the time, supervisor up 3 h',
    'polls: 2880, updates: 153',
    'restarts: 6 (workers: 2 ended with code 1, 2 ended on request, 1 ended by SIGKILL, 1 replaced as deaf)',
    'conflicts (409): 2 with another poller, 0 with a webhook',
    'strays stopped: 1',
    'webhook: set again 1 time, now none, 8 updates waiting',
    'problems now: none',
    'alerts since the start: 3 delivered, 0 failed',
    'singlepoll 1.2.3, Node 20.20.0',
  ]);
  assert.match(digestMessage(['a', 'b'], SAMPLE_NOW_MS, FROM).title, /^daily digest: @my_bot on box$/);
});
