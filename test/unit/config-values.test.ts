/** Single values: what is read, and what is refused and why; how values are shown; what was meant. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { didYouMean, maskSecrets, showValue } from '../../src/config/messages.ts';
import { holdsTokenShape } from '../../src/config/token.ts';
import {
  API_ROOT,
  COUNT,
  formatDuration,
  HTTP_ADDRESS,
  isLoopback,
  parseDuration,
  RATE,
  SIZE,
  STRAY_PATTERN,
  showHttpAddress,
  TIME,
  TIME_RANGE,
  type ValueType,
} from '../../src/config/values.ts';

const TOKEN = `123456:${'A'.repeat(35)}`;

/** Each text with its value, and with why it is refused. */
function reads<T>(
  what: string,
  type: ValueType<T, string>,
  good: readonly (readonly [string, T])[],
  bad: readonly (readonly [RegExp, ...(readonly string[])])[],
): void {
  test(what, () => {
    for (const [text, value] of good) assert.deepEqual(type.parse(text), { ok: true, value }, text);
    for (const [problem, ...texts] of bad)
      for (const text of texts) {
        const answer = type.parse(text);
        assert.match(answer.ok ? 'accepted' : answer.problem, problem, text.slice(0, 60));
      }
  });
}

const times = { '15s': 15_000, '500ms': 500, '5m': 300_000, '24d': 24 * 86_400_000, '1m30s': 90_000 };
reads(
  'a time',
  TIME,
  [...Object.entries(times), ['1.5s', 1_500], ['15', 15_000], ['0.25', 250], [' 2s ', 2_000]],
  [
    [/empty/, ''],
    [/zero/, '0', '0.0001s'],
    [/negative/, '-5s'],
    [/not a time/, '5 s', '5M', '5constructor', '1e3', '1s2', 'Infinity', '0x10', '١s'],
    [/longer than 24d/, '25d', '9'.repeat(400)],
  ],
);
reads(
  'MIN,MAX',
  TIME_RANGE,
  [
    ['1s, 30s', { minMs: 1_000, maxMs: 30_000 }],
    ['2,2', { minMs: 2_000, maxMs: 2_000 }],
  ],
  [
    [/not MIN,MAX/, '1s', '1s,2s,3s'],
    [/MIN is greater than MAX/, '5s,1s'],
    [/MIN is wrong: it is zero/, '0,30s'],
    [/MAX is wrong: it is empty/, '1s,'],
  ],
);
reads(
  'N/PERIOD',
  RATE,
  [[' 3 / 60 ', { count: 3, periodMs: 60_000 }]],
  [
    [/not N\/PERIOD/, '10', '10/5m/1'],
    [/N is wrong: .*--restart never/, '0/5m', '9999999/1s'],
    [/N is wrong: it is not a number/, '1.5/5m', '-1/5m'],
    [/PERIOD is wrong: it is empty/, '10/'],
  ],
);
reads(
  'a size',
  SIZE,
  [
    ['10MB', 10 * 1024 ** 2],
    ['512k', 512 * 1024],
    [' 1.5 GiB ', 1.5 * 1024 ** 3],
    ['8192b', 8192],
  ],
  [
    [/not a size/, '', 'x', '-1M', '1T'],
    [/smaller than 4K/, '100'],
  ],
);
reads(
  'a count',
  COUNT,
  [['0', 0]],
  [
    [/more than 999/, '1000'],
    [/not a number/, '-1'],
  ],
);
reads(
  'an API root',
  API_ROOT,
  [
    ['HTTPS://API.Telegram.org:443/', 'https://api.telegram.org'],
    ['http://[::1]:8081/tg/', 'http://[::1]:8081/tg'],
    ['http://host/a/b//', 'http://host/a/b'],
    [' http://host/bot-api ', 'http://host/bot-api'],
  ],
  [
    [/http:\/\/ or https:\/\/ is missing/, 'api.telegram.org', 'localhost:8081', 'localhost:8081/x'],
    [/neither http nor https/, 'ftp://host', 'file:///etc/passwd'],
    [/not a URL/, '', 'http://', 'http://host:99999'],
    [/user name or password/, 'http://user:pass@host'],
    [/query or a fragment/, 'http://host/?', 'http://host/#x'],
    [/token/, `https://x/bot${TOKEN}`, `https://x/bot${TOKEN.replace(':', '%3A')}/`],
    [/ends in \/bot/, 'https://api.telegram.org/bot'],
  ],
);
reads(
  'a stray pattern',
  STRAY_PATTERN,
  ['production_polling_bot\\.py', '^bot', 'a|b_bot', '(?<name>bot)'].map((it) => [it, it] as const),
  [
    [/every process/, '  '],
    [/empty text/, '.*', 'bot|'],
    [/every program/, '.+', '\\S', '[^/]'],
    [/Unterminated group/, 'a('],
    [/Nothing to repeat/, '*bot'],
  ],
);
const at8080 = ['8080', ':8080', ' 8080 ', 'localhost:8080', '127.0.0.1:8080'];
reads(
  'an address to listen at',
  HTTP_ADDRESS,
  [
    ...at8080.map((text) => [text, { host: '127.0.0.1', port: 8080 }] as const),
    ['[::1]:0', { host: '::1', port: 0 }],
    ['0.0.0.0:65535', { host: '0.0.0.0', port: 65_535 }],
  ],
  [
    [/does not end in a port/, '', '127.0.0.1'],
    [/no such port/, '65536'],
    [/no IP address/, '300.0.0.1:80', 'x.com:80', '::1:8080', '[127.0.0.1]:8080', 'http://127.0.0.1:80'],
  ],
);

test('a time is written as it was read; an address as well', () => {
  for (const text of ['500ms', '15s', '1m', '90s', '1h', '2d', '1500ms']) {
    const answer = parseDuration(text);
    assert.equal(answer.ok && formatDuration(answer.value), text);
  }
  assert.equal(showHttpAddress({ host: '::1', port: 80 }), '[::1]:80');
  for (const host of ['127.3.4.5', '::1', '::ffff:127.0.0.1']) assert.ok(isLoopback({ host, port: 1 }), host);
  for (const host of ['0.0.0.0', '::', '10.0.0.7']) assert.ok(!isLoopback({ host, port: 1 }), host);
});

test('tokens are masked wherever they stand; nothing that is shown steers the terminal or floods it', () => {
  assert.equal(maskSecrets(`a ${TOKEN} b ${TOKEN.replace(':', '%3A')}`), 'a 123456:… b 123456:…');
  assert.equal(maskSecrets('http://u:p@h/bot1'), 'http://…@h/bot1');
  assert.equal(maskSecrets('10:30, a@b'), '10:30, a@b');
  for (let again = 0; again < 2; again++) assert.equal(holdsTokenShape(`--token=${TOKEN}`), true);
  assert.equal(holdsTokenShape('localhost:8081'), false);
  assert.equal(showValue('a\u001b[31m\n"b"'), '"a\\u001b[31m\\n\\"b\\""');
  assert.equal(showValue('\u009b1m\u202e'), '"\\u009b1m\\u202e"');
  assert.ok(showValue('x'.repeat(1e6)).length < 110);
  assert.ok(!showValue(`${'x'.repeat(95)}${TOKEN}`).includes('AAA'), 'cut after masking, not before');
});

test('what was meant', () => {
  const known = ['stopTimeout', 'stray', 'strayScope', 'backoff', 'wait', 'config'];
  const meant = { stopTimout: 'stopTimeout', STOP_TIMEOUT: 'stopTimeout', SINGLEPOLL_BAKCOFF: 'backoff' };
  for (const [typed, name] of Object.entries({ ...meant, strays: 'stray', wiat: 'wait' }))
    assert.equal(didYouMean(typed, known), `; did you mean ${name}?`);
  for (const typed of ['zzz', 'x'.repeat(100_000)]) assert.equal(didYouMean(typed, known), '');
  assert.equal(didYouMean('x', []), '');
});
