/** Foreign text is made harmless before it is shown. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plain, plainCommand } from '../../src/output/plain.ts';

const TOKEN = '123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw';

for (const [name, text, shown] of [
  ['plain text', 'python3 bot.py', 'python3 bot.py'],
  ['newlines', 'a\nb\r\nc', 'a\\nb\\r\\nc'],
  ['colour and title escapes', '\u001b[31mred\u001b]0;title\u0007', '\\e[31mred\\e]0;title\\x07'],
  ['C1 controls', 'a\u009b31mb', 'a\\u009b31mb'],
  ['right-to-left override', 'a\u202egpj.exe', 'a\\u202egpj.exe'],
  ['zero width', 'bo\u200bt', 'bo\\u200bt'],
  ['a lone surrogate', 'a\ud800b', 'a\ufffdb'],
  ['an emoji', 'bot 🤖', 'bot 🤖'],
  ['a token', `--token=${TOKEN}`, '--token=123456789:…'],
  ['a token in a URL', `https://h/bot${TOKEN}/getMe`, 'https://h/bot123456789:…/getMe'],
  ['a token in a query', `?t=${TOKEN.replace(':', '%3A')}&`, '?t=123456789:…&'],
  ['passwords of URLs', 'a://u:p:w@h/x b=c://:p@[::1]:9', 'a://…@h/x b=c://…@[::1]:9'],
  ['a URL without a password', 'http://u@h:80/@a:b@c', 'http://u@h:80/@a:b@c'],
  ['a short secret is none', '12345:abc', '12345:abc'],
] as const) {
  test(`plain: ${name}`, () => assert.equal(plain(text), shown));
}

test('plain: a long text is cut, at its end, in constant time', () => {
  assert.equal(plain('x'.repeat(2_000_000), 10), `${'x'.repeat(9)}…`);
  assert.equal(plain('x'.repeat(10), 10), 'x'.repeat(10));
  assert.equal(plain('\n'.repeat(10), 10).length, 10);
});

test('plain: no half of a token and no half of a character at the cut', () => {
  for (let pad = 0; pad < 60; pad++) {
    const shown = plain(`${'y'.repeat(pad)}${TOKEN}`, 40);
    assert.ok(!/:AA/.test(shown), shown);
    assert.ok(!/\p{Surrogate}/u.test(plain(`${'y'.repeat(pad)}🤖🤖🤖`, 40)));
  }
});

test('plainCommand: borders of arguments can be seen', () => {
  assert.equal(plainCommand(['sh', '-c', 'a b', '']), "sh -c 'a b' ''");
  assert.equal(plainCommand(['a', 'b'.repeat(500)], 20).length, 20);
});

test('plain: many tokens, the last one cut by the limit: no secret shows', () => {
  for (let pad = 0; pad < 50; pad++) {
    const shown = plain(`${'z'.repeat(pad)}${`${TOKEN} `.repeat(40)}`, 200);
    assert.ok(!shown.includes(':AA'), shown);
  }
});
