/** `/`: problem first, everything escaped, nothing from elsewhere, and nothing that strangers should not see. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import type { StatusDocument } from '../../src/core/status.ts';
import { discreet } from '../../src/http/discreet.ts';
import { PAGE_POLICY, statusPage } from '../../src/http/page.ts';
import { rowText, statusRows } from '../../src/output/screen.ts';
import { SAMPLE_NOW_MS, sampleLease, sampleStatus, sampleStray } from '../support/status-sample.ts';

const page = (more: Partial<StatusDocument> = {}, refreshes = true): string =>
  statusPage(sampleStatus(more), { nowMs: SAMPLE_NOW_MS, refreshes });

/** Without tags and entities. */
const shown = (html: string): string =>
  html
    .replace(/<style>.*<\/style>/s, '')
    .replace(/<[^>]*>/g, '')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&');

describe('page', () => {
  test('shows every row of status', () => {
    const doc = sampleStatus({ strays: [sampleStray], lease: sampleLease });
    const text = shown(statusPage(doc, { nowMs: SAMPLE_NOW_MS, refreshes: true }));
    for (const row of statusRows(doc, SAMPLE_NOW_MS)) {
      assert.ok(text.includes(row.label), row.label);
      for (const line of [rowText(row), ...row.rest]) assert.ok(text.includes(line), line);
    }
    assert.match(text, /@my_bot \(123456\)/);
    assert.match(text, /as of 2026-11-21 12:00:00 UTC/);
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

  test('loads itself again, unless it is asked to stand still', () => {
    assert.match(page(), /<meta http-equiv="refresh" content="5">/);
    assert.match(page(), /href="\?refresh=off"/);
    assert.doesNotMatch(page({}, false), /http-equiv="refresh"/);
  });

  test('whatever anybody calls itself is text', () => {
    const evil = `"><script>alert(1)</script><img src=x onerror='x'>&amp;\u202e\u0000`;
    const doc = sampleStatus({
      bot: { id: 1, username: evil },
      healthy: false,
      problems: [{ code: evil, message: evil, hint: evil }],
      supervisor: { pid: 1, startedAt: null, version: evil, command: [evil], cwd: evil },
      webhook: { url: evil, pendingUpdates: 0, lastError: evil },
      strays: [{ ...sampleStray, command: evil, cwd: evil, user: evil, proof: [evil], respawner: null }],
      lease: { ...sampleLease, mine: false, holder: evil, engine: evil },
    });
    const html = statusPage(doc, { nowMs: SAMPLE_NOW_MS, refreshes: true });
    const tags = new Set([...html.matchAll(/<([a-z0-9]+)/g)].map((it) => it[1]));
    for (const tag of ['script', 'img']) assert.ok(!tags.has(tag), tag);
    assert.doesNotMatch(html, /<[^>]*onerror/);
    assert.doesNotMatch(html, /[\u0000\u202e]/);
    // Every tag is one of ours: none was opened or closed by a text.
    const balance = (tag: string) =>
      html.split(new RegExp(`<${tag}[ >]`)).length - html.split(`</${tag}>`).length;
    for (const tag of ['li', 'dd', 'dt', 'strong', 'h1', 'title']) assert.equal(balance(tag), 0, tag);
  });

  test('a token in a text is masked', () => {
    const message = `failed at /bot123456:${'A'.repeat(35)}/getMe`;
    assert.doesNotMatch(page({ problems: [{ code: 'x', message }] }), /AAAAA/);
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
      assert.match(link ?? '', /^(\?refresh=off|metrics|data:image\/svg\+xml,)/);
  });
});

describe('what strangers see', () => {
  test('programs without arguments, no folders; the numbers stay', () => {
    const doc = discreet(sampleStatus({ strays: [sampleStray] }));
    const text = JSON.stringify(doc);
    assert.doesNotMatch(text, /hunter2|\/srv|\/usr|old_bot/);
    assert.deepEqual(doc.supervisor?.command, ['python3']);
    assert.equal(doc.worker?.tree[1]?.command, 'ffmpeg …');
    assert.equal(doc.strays[0]?.command, 'python3 …');
    assert.deepEqual(doc.polling, sampleStatus().polling);
  });
  test('nothing there, nothing made up', () => {
    const empty = sampleStatus({ supervisor: null, worker: null, polling: null });
    assert.deepEqual(discreet(empty), empty);
  });
});
