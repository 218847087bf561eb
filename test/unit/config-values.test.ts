/** Single values, each by a table: what is read, and what is refused and why; how values are shown; what was meant. */
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
const DAY_MS = 86_400_000;
const MISSING = /http:\/\/ or https:\/\/ is missing/;

/** A text with its value, or with why it is refused. */
const TABLES: [string, ValueType<unknown>, [string, unknown][]][] = [
  [
    'a time',
    TIME,
    [
      ...([
        ['15s', 15_000],
        ['500ms', 500],
        ['5m', 300_000],
        ['1h', 3_600_000],
        ['24d', 24 * DAY_MS],
        ['1m30s', 90_000],
        ['1.5s', 1_500],
        ['15', 15_000],
        ['0.25', 250],
        [' 2s ', 2_000],
      ] as [string, unknown][]),
      ['', /empty/],
      ['0', /zero/],
      ['0.0001s', /zero/],
      ['-5s', /negative/],
      ['5 s', /not a time/],
      ['5M', /not a time/],
      ['1e3', /not a time/],
      ['1s2', /not a time/],
      ['Infinity', /not a time/],
      ['0x10', /not a time/],
      ['25d', /24 days/],
      ['9'.repeat(400), /24 days/],
      ['١s', /not a time/],
    ],
  ],
  [
    'MIN,MAX',
    TIME_RANGE,
    [
      ['1s, 30s', { minMs: 1_000, maxMs: 30_000 }],
      ['500ms,1m', { minMs: 500, maxMs: 60_000 }],
      ['2,2', { minMs: 2_000, maxMs: 2_000 }],
      ['5s,1s', /MIN is greater than MAX/],
      ['1s', /not MIN,MAX/],
      ['1s,2s,3s', /not MIN,MAX/],
      ['0,30s', /MIN is wrong: it is zero/],
      ['1s,', /MAX is wrong: it is empty/],
    ],
  ],
  [
    'N/PERIOD',
    RATE,
    [
      ['10/5m', { count: 10, periodMs: 300_000 }],
      [' 3 / 60 ', { count: 3, periodMs: 60_000 }],
      ['10', /not N\/PERIOD/],
      ['10/5m/1', /not N\/PERIOD/],
      ['0/5m', /N is wrong: .*--restart never/],
      ['1.5/5m', /N is wrong: it is not a number/],
      ['10/', /PERIOD is wrong: it is empty/],
      ['9999999/1s', /999999/],
    ],
  ],
  [
    'a size',
    SIZE,
    [
      ['10MB', 10 * 1024 ** 2],
      ['512k', 512 * 1024],
      [' 1.5 GiB ', 1.5 * 1024 ** 3],
      ['8192', 8192],
      ['8192b', 8192],
      ['', /not a size/],
      ['x', /not a size/],
      ['-1M', /not a size/],
      ['1T', /not a size/],
      ['100', /smaller than 4K/],
    ],
  ],
  [
    'a count',
    COUNT,
    [
      ['0', 0],
      ['1000', /more than 999/],
      ['-1', /not a number/],
    ],
  ],
  [
    'an API root',
    API_ROOT,
    [
      ['https://api.telegram.org/', 'https://api.telegram.org'],
      ['HTTPS://API.Telegram.org:443/', 'https://api.telegram.org'],
      ['http://127.0.0.1:8081', 'http://127.0.0.1:8081'],
      ['http://[::1]:8081/tg/', 'http://[::1]:8081/tg'],
      ['http://host/a/b//', 'http://host/a/b'],
      ['http://host/bot-api', 'http://host/bot-api'],
      [' http://host ', 'http://host'],
      ['', /not a URL/],
      ['api.telegram.org', MISSING],
      ['localhost:8081', MISSING],
      ['localhost:8081/x', MISSING],
      ['ftp://host', /neither http nor https/],
      ['file:///etc/passwd', /neither/],
      ['http://', /not a URL/],
      ['http://host:99999', /not a URL/],
      ['http://user:pass@host', /user name or password/],
      ['http://host/?', /query/],
      ['http://host/#x', /query or a fragment/],
      [`https://api.telegram.org/bot${TOKEN}`, /token/],
      [`https://api.telegram.org/bot${TOKEN.replace(':', '%3A')}/`, /token/],
      ['https://api.telegram.org/bot', /ends in \/bot/],
    ],
  ],
  [
    'a stray pattern',
    STRAY_PATTERN,
    [
      ...['production_polling_bot\\.py', '^bot', 'a|b_bot', '(?<name>bot)'].map((text): [string, unknown] => [
        text,
        text,
      ]),
      ['  ', /every process/],
      ['.*', /empty text/],
      ['bot|', /empty text/],
      ['.+', /every program/],
      ['\\S', /every program/],
      ['[^/]', /every program/],
      ['a(', /Unterminated group/],
      ['*bot', /Nothing to repeat/],
    ],
  ],
  [
    'an address to listen at',
    HTTP_ADDRESS,
    [
      ...['8080', ':8080', ' 8080 ', 'localhost:8080', '127.0.0.1:8080'].map((text): [string, unknown] => [
        text,
        { host: '127.0.0.1', port: 8080 },
      ]),
      ['0', { host: '127.0.0.1', port: 0 }],
      ['[::1]:8080', { host: '::1', port: 8080 }],
      ['0.0.0.0:65535', { host: '0.0.0.0', port: 65_535 }],
      ['', /does not end in a port/],
      ['127.0.0.1', /does not end in a port/],
      ['65536', /no such port/],
      ['300.0.0.1:80', /no IP address/],
      ['bot.example.com:80', /no IP address/],
      ['::1:8080', /IPv6 in brackets/],
      ['[127.0.0.1]:8080', /no IP address/],
      ['http://127.0.0.1:80', /no IP address/],
    ],
  ],
];

for (const [what, type, rows] of TABLES)
  test(`${what}: ${rows.length} texts`, () => {
    for (const [text, expected] of rows) {
      const answer = type.parse(text);
      const shown = JSON.stringify(text.slice(0, 60));
      if (expected instanceof RegExp) assert.match(answer.ok ? 'accepted' : answer.problem, expected, shown);
      else assert.deepEqual(answer, { ok: true, value: expected }, shown);
    }
  });

test('a time is written as it was read; an address as well', () => {
  for (const text of ['500ms', '15s', '1m', '90s', '1h', '2d', '1500ms']) {
    const answer = parseDuration(text);
    assert.equal(answer.ok && formatDuration(answer.value), text);
  }
  assert.equal(showHttpAddress({ host: '::1', port: 80 }), '[::1]:80');
  for (const host of ['127.3.4.5', '::1', '::ffff:127.0.0.1']) assert.ok(isLoopback({ host, port: 1 }), host);
  for (const host of ['0.0.0.0', '::', '10.0.0.7']) assert.ok(!isLoopback({ host, port: 1 }), host);
});

test('tokens are masked wherever they stand, also encoded', () => {
  assert.equal(maskSecrets(`a ${TOKEN} b ${TOKEN.replace(':', '%3A')}`), 'a 123456:… b 123456:…');
  assert.equal(maskSecrets('http://u:p@h/bot1'), 'http://…@h/bot1');
  assert.equal(maskSecrets('10:30, a@b'), '10:30, a@b');
  for (let again = 0; again < 2; again++) assert.equal(holdsTokenShape(`--token=${TOKEN}`), true);
  assert.equal(holdsTokenShape('localhost:8081'), false);
});

test('nothing that is shown steers the terminal or floods it', () => {
  assert.equal(showValue('a\u001b[31m\n"b"'), '"a\\u001b[31m\\n\\"b\\""');
  assert.equal(showValue('\u009b1m\u202e'), '"\\u009b1m\\u202e"');
  assert.ok(showValue('x'.repeat(1e6)).length < 110);
  assert.ok(!showValue(`${'x'.repeat(95)}${TOKEN}`).includes('AAA'), 'cut after masking, not before');
});

test('what was meant', () => {
  const known = ['stopTimeout', 'stray', 'strayScope', 'backoff', 'wait', 'config'];
  const cases: [string, string | null][] = [
    ['stopTimout', 'stopTimeout'],
    ['STOP_TIMEOUT', 'stopTimeout'],
    ['SINGLEPOLL_BAKCOFF', 'backoff'],
    ['strays', 'stray'],
    ['wiat', 'wait'],
    ['zzz', null],
    ['x'.repeat(100_000), null],
  ];
  for (const [typed, meant] of cases)
    assert.equal(didYouMean(typed, known), meant === null ? '' : `; did you mean ${meant}?`);
  assert.equal(didYouMean('x', []), '');
});
