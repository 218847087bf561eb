/**
 * setWebhook, deleteWebhook and getWebhookInfo as the server does them, on a virtual clock.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createArgs } from '../../src/gateway/params.ts';
import type { Answer } from '../../src/sandbox/answer.ts';
import { CONFLICT, createBot } from '../../src/sandbox/bot.ts';
import { judgeWebhook } from '../../src/sandbox/webhook-url.ts';
import { manualClock } from '../support/manual-clock.ts';

const URL_A = 'https://a.example/hook';

function setup() {
  const clock = manualClock();
  const bot = createBot({ clock, firstUpdateId: 300_000, webhookStepMs: 2 });
  const change = (method: 'setwebhook' | 'deletewebhook', params: Record<string, string> = {}) => {
    const answers: Answer[] = [];
    bot.setWebhook(method, createArgs(params), (answer) => answers.push(answer));
    return answers;
  };
  return {
    clock,
    bot,
    set: (params: Record<string, string>) => change('setwebhook', params),
    remove: (params: Record<string, string> = {}) => change('deletewebhook', params),
    text: () => bot.push({ message: { text: 'x' } }),
    info: () => bot.webhookInfo() as Record<string, unknown>,
  };
}

const only = (answers: Answer[]) => {
  assert.equal(answers.length, 1, `answered ${answers.length} times`);
  return answers[0]?.body as { result?: unknown; description?: string; error_code?: number };
};

describe('setWebhook', () => {
  it('says set, then already set; keeps what waits in the queue', () => {
    const { set, clock, info, text } = setup();
    text();
    const first = set({ url: URL_A });
    assert.equal(first.length, 0, 'checked first');
    clock.advance(2);
    assert.deepEqual(only(first), { ok: true, result: true, description: 'Webhook was set' });
    clock.advance(1000);
    assert.equal(only(set({ url: URL_A })).description, 'Webhook is already set');
    assert.deepEqual(info(), {
      url: URL_A,
      has_custom_certificate: false,
      pending_update_count: 1,
      max_connections: 40,
      ip_address: '203.0.113.10',
    });
  });

  it('is changed by another max_connections, secret or address', () => {
    const { set, clock, info } = setup();
    set({ url: URL_A });
    clock.advance(1000);
    for (const [params, connections] of [
      [{ max_connections: '500' }, 100],
      [{ secret_token: 'x' }, 40],
      [{ ip_address: '198.51.100.7' }, 40],
    ] as const) {
      const again = set({ url: URL_A, ...params });
      clock.advance(1000);
      assert.equal(only(again).description, 'Webhook was set');
      assert.equal(info().max_connections, connections);
    }
    assert.equal(info().ip_address, '198.51.100.7');
  });

  it('more than one in a second gets 429 retry after 1; deletes are not limited', () => {
    const { set, remove, clock } = setup();
    set({ url: URL_A });
    clock.advance(999);
    const [early] = set({ url: 'https://b.example/' });
    assert.equal(early?.status, 429);
    assert.equal(early?.retryAfter, 1);
    for (let i = 0; i < 5; i++) remove();
    clock.advance(5);
    assert.equal(only(remove()).description, 'Webhook is already deleted');
  });

  it('ends another set or delete that is under way with its own 409', () => {
    const { set, remove, clock, info } = setup();
    const first = set({ url: URL_A });
    const second = remove();
    assert.equal(only(first).description, CONFLICT.otherSetWebhook);
    assert.equal(only(first).error_code, 409);
    assert.equal(second.length, 0);
    clock.advance(10);
    assert.equal(only(second).description, 'Webhook was deleted');
    assert.equal(info().url, '');
  });

  it('of two deletes under way the first loses, and it is held when a 409 was sent within 3 s', () => {
    const { set, remove, clock } = setup();
    set({ url: URL_A });
    clock.advance(1000);
    const [first, second, third] = [remove(), remove(), remove()];
    assert.equal(only(first).error_code, 409);
    assert.equal(second.length, 0);
    clock.advance(2);
    assert.equal(only(third).description, 'Webhook was deleted');
    clock.advance(3000);
    assert.equal(only(second).error_code, 409);
  });

  it('a bad url leaves the bot without any webhook', () => {
    const { set, clock, info } = setup();
    set({ url: URL_A });
    clock.advance(1000);
    const bad = set({ url: 'http://b.example/' });
    clock.advance(10);
    assert.equal(
      only(bad).description,
      'Bad Request: bad webhook: An HTTPS URL must be provided for webhook',
    );
    assert.equal(info().url, '');
  });

  it('takes allowed_updates, also when nothing else changes', () => {
    const { set, clock, info } = setup();
    set({ url: URL_A, allowed_updates: '["poll"]' });
    clock.advance(1000);
    assert.deepEqual(info().allowed_updates, ['poll']);
    set({ url: URL_A, allowed_updates: '["message","poll"]' });
    assert.deepEqual(info().allowed_updates, ['message', 'poll']);
  });
});

describe('deleteWebhook', () => {
  for (const [name, act] of [
    ['deleteWebhook', (s: ReturnType<typeof setup>, p = {}) => s.remove(p)],
    ['setWebhook with an empty url', (s: ReturnType<typeof setup>, p = {}) => s.set({ url: '', ...p })],
    ['setWebhook without a url', (s: ReturnType<typeof setup>, p = {}) => s.set(p)],
  ] as const) {
    it(`${name}: nothing set`, () => {
      const s = setup();
      s.text();
      assert.equal(only(act(s)).description, 'Webhook is already deleted');
      assert.equal(s.bot.pendingCount(), 1);
    });

    it(`${name}: nothing set, drop_pending_updates`, () => {
      const s = setup();
      s.text();
      const made = act(s, { drop_pending_updates: ' True ' });
      assert.equal(only(made).description, 'Webhook is already deleted');
      assert.equal(s.bot.pendingCount(), 0);
    });

    it(`${name}: one set; polling is refused until it is closed`, () => {
      const s = setup();
      s.set({ url: URL_A });
      s.clock.advance(3100);
      s.text();
      const made = act(s);
      assert.equal(made.length, 0);
      const during: Answer[] = [];
      s.bot.getUpdates(createArgs(), (answer) => during.push(answer));
      assert.equal(only(during).description, CONFLICT.webhookActive);
      s.clock.advance(2);
      assert.equal(only(made).description, 'Webhook was deleted');
      const after: Answer[] = [];
      s.bot.getUpdates(createArgs(), (answer) => after.push(answer));
      assert.equal(after[0]?.delivered?.length, 1, 'updates are kept');
    });
  }

  it('ignores a url', () => {
    const { remove, info } = setup();
    assert.equal(only(remove({ url: URL_A })).description, 'Webhook is already deleted');
    assert.equal(info().url, '');
  });

  it('takes allowed_updates when there is nothing to delete', () => {
    const { remove, info } = setup();
    remove({ allowed_updates: '["poll"]' });
    assert.deepEqual(info().allowed_updates, ['poll']);
  });

  it('drops pending updates of a webhook only when asked', () => {
    const { set, remove, clock, bot, text } = setup();
    set({ url: URL_A });
    clock.advance(1000);
    text();
    remove({ drop_pending_updates: 'no' });
    clock.advance(5);
    assert.equal(bot.pendingCount(), 1);
    set({ url: URL_A });
    clock.advance(1000);
    remove({ drop_pending_updates: 'yes' });
    clock.advance(5);
    assert.equal(bot.pendingCount(), 0);
  });
});

describe('getWebhookInfo', () => {
  it('shows three fields when there is nothing to say', () => {
    const { info } = setup();
    assert.deepEqual(info(), { url: '', has_custom_certificate: false, pending_update_count: 0 });
  });

  it('shows the last error until the webhook changes', () => {
    const { set, clock, bot, info, remove } = setup();
    set({ url: URL_A });
    clock.advance(10);
    bot.noteWebhookError('Connection refused');
    assert.equal(info().last_error_message, 'Connection refused');
    assert.ok(Number.isInteger(info().last_error_date));
    remove();
    clock.advance(10);
    assert.ok(!('last_error_message' in info()));
  });

  it('shows a custom certificate', () => {
    const { bot, clock, info } = setup();
    const args = createArgs({ url: URL_A });
    args.files.push({
      field: 'certificate',
      fileName: 'c.pem',
      contentType: 'text/plain',
      bytes: Buffer.from('x'),
    });
    bot.setWebhook('setwebhook', args, () => {});
    clock.advance(10);
    assert.equal(info().has_custom_certificate, true);
  });
});

describe('judging a url', () => {
  const invalid = 'Bad Request: invalid webhook URL specified';
  const bad = (what: string) => `Bad Request: bad webhook: ${what}`;
  const ports = bad('Webhook can be set up only on ports 80, 88, 443 or 8443');
  for (const [url, expected] of [
    ['https://a.example', null],
    ['a.example/without/protocol', null],
    ['https://user:pw@a.example:8443/x?y#z', null],
    ['https://a.example:88', null],
    ['https://bücher.example/', null],
    ['http://a.example/', bad('An HTTPS URL must be provided for webhook')],
    ['https://a.example:444/', ports],
    ['https://a.example:0/', invalid],
    ['https://a.example:x/', invalid],
    ['https://a.example:70000/', invalid],
    ['ftp://a.example/', invalid],
    ['https://', invalid],
    ['https:///path', invalid],
    ['https://a b.example/', invalid],
    ['https://127.0.0.1/', bad('IP address 127.0.0.1 is reserved')],
    ['https://localhost/', bad('IP address 127.0.0.1 is reserved')],
    ['https://192.168.1.5/', bad('IP address 192.168.1.5 is reserved')],
    ['https://[::1]/', bad('IPv6-only addresses are not allowed')],
  ] as const)
    it(`${url} → ${expected ?? 'fine'}`, () => {
      const { refused, failed } = judgeWebhook(url, '', '');
      assert.equal(refused ?? failed, expected);
    });

  it('judges address and secret', () => {
    assert.equal(judgeWebhook(URL_A, 'nonsense', '').failed, bad('Invalid IP address specified'));
    assert.equal(judgeWebhook(URL_A, '10.0.0.1', '').failed, bad('IP address 10.0.0.1 is reserved'));
    assert.equal(judgeWebhook(URL_A, '8.8.8.8', 'A-z_9').failed, null);
    assert.equal(
      judgeWebhook(URL_A, '', 'a b').refused,
      'Bad Request: secret token contains unallowed characters',
    );
    assert.equal(judgeWebhook(URL_A, '', 'a'.repeat(257)).refused, 'Bad Request: secret token is too long');
  });
});
