/**
 * setWebhook, deleteWebhook and getWebhookInfo as the server does them, on a virtual clock.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createArgs } from '../../src/gateway/params.ts';
import { type Answer, CONFLICT, createBot } from '../../src/sandbox/bot.ts';
import { manualClock } from '../support/manual-clock.ts';

const URL_A = 'https://a.example/hook';

function setup() {
  const clock = manualClock();
  const bot = createBot(clock, 300_000);
  const call = (method: string, params: Record<string, string> = {}) => {
    const answers: Answer[] = [];
    bot.call(method, createArgs(params), (answer) => answers.push(answer));
    return answers;
  };
  return {
    clock,
    bot,
    call,
    set: (params: Record<string, string>) => call('setWebhook', params),
    remove: (params: Record<string, string> = {}) => call('deleteWebhook', params),
    text: () => bot.push({ message: { text: 'x' } }),
    info: () => only(call('getWebhookInfo')).result as Record<string, unknown>,
  };
}

const only = (answers: Answer[]) => {
  assert.equal(answers.length, 1, `answered ${answers.length} times`);
  return answers[0]?.body as { result?: unknown; description?: string; error_code?: number };
};

describe('setWebhook', () => {
  it('says set, then already set; keeps what waits in the queue', () => {
    const { set, clock, info, text } = setup();
    assert.deepEqual(info(), { url: '', has_custom_certificate: false, pending_update_count: 0 });
    text();
    const first = set({ url: URL_A });
    assert.equal(first.length, 0, 'checked first');
    clock.advance(2);
    assert.deepEqual(only(first), { ok: true, result: true, description: 'Webhook was set' });
    clock.advance(1000);
    assert.equal(only(set({ url: URL_A })).description, 'Webhook is already set');
    assert.equal(info().url, URL_A);
    assert.equal(info().pending_update_count, 1);
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

  for (const [url, description] of [
    ['http://b.example/', 'Bad Request: bad webhook: An HTTPS URL must be provided for webhook'],
    ['nonsense', 'Bad Request: invalid webhook URL specified'],
  ] as const)
    it(`${url} leaves the bot without any webhook`, () => {
      const { set, clock, info } = setup();
      set({ url: URL_A });
      clock.advance(1000);
      const bad = set({ url });
      clock.advance(10);
      assert.equal(only(bad).description, description);
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
  for (const [name, method, params] of [
    ['deleteWebhook, whatever its url', 'deleteWebhook', { url: URL_A }],
    ['setWebhook with an empty url', 'setWebhook', { url: '' }],
    ['setWebhook without a url', 'setWebhook', {}],
  ] as [string, string, Record<string, string>][]) {
    it(`${name}: nothing set; updates go only where that is asked for`, () => {
      const { call, text, bot } = setup();
      text();
      assert.equal(only(call(method, params)).description, 'Webhook is already deleted');
      assert.equal(bot.state().pendingUpdates, 1);
      const dropping = call(method, { ...params, drop_pending_updates: ' True ' });
      assert.equal(only(dropping).description, 'Webhook is already deleted');
      assert.equal(bot.state().pendingUpdates, 0);
    });

    it(`${name}: one set; polling is refused until it is closed, updates are kept`, () => {
      const { call, set, text, clock } = setup();
      set({ url: URL_A });
      clock.advance(3100);
      text();
      const made = call(method, params);
      assert.equal(made.length, 0);
      assert.equal(only(call('getUpdates')).description, CONFLICT.webhookActive);
      clock.advance(2);
      assert.equal(only(made).description, 'Webhook was deleted');
      assert.equal(call('getUpdates')[0]?.delivered?.length, 1);
    });
  }
});
