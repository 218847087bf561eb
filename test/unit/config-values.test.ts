/** Single values: times, rates, API roots, stray patterns, and how values are shown. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { maskSecrets, showValue, suggest } from '../../src/config/messages.ts';
import { holdsTokenShape } from '../../src/config/token.ts';
import {
  API_ROOT,
  formatDuration,
  parseDuration,
  RATE,
  STRAY_PATTERN,
  TIME_RANGE,
} from '../../src/config/values.ts';

const TOKEN = `123456:${'A'.repeat(35)}`;

function problemOf(answer: { ok: boolean; problem?: string }): string {
  assert.equal(answer.ok, false);
  return answer.problem ?? '';
}

describe('duration', () => {
  const good: [string, number][] = [
    ['15s', 15_000],
    ['500ms', 500],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
    ['24d', 24 * 86_400_000],
    ['1m30s', 90_000],
    ['1.5s', 1_500],
    ['15', 15_000],
    ['0.25', 250],
    [' 2s ', 2_000],
    ['1ms', 1],
  ];
  for (const [text, ms] of good) {
    test(`"${text}" is ${ms} ms`, () => assert.deepEqual(parseDuration(text), { ok: true, value: ms }));
  }
  const bad: [string, RegExp][] = [
    ['', /empty/],
    ['0', /zero/],
    ['0s', /zero/],
    ['0.0001s', /zero/],
    ['-5s', /negative/],
    ['5 s', /not a time/],
    ['5x', /x is no unit/],
    ['5M', /M is no unit/],
    ['5constructor', /constructor is no unit/],
    ['1e3', /not a time/],
    ['s', /not a time/],
    ['1s2', /not a time/],
    ['Infinity', /not a time/],
    ['NaN', /not a time/],
    ['0x10', /not a time/],
    ['25d', /24 days/],
    ['9'.repeat(400), /24 days/],
    ['١s', /not a time/],
  ];
  for (const [text, problem] of bad) {
    test(`"${text.slice(0, 20)}" is refused`, () => assert.match(problemOf(parseDuration(text)), problem));
  }
  for (const text of ['500ms', '15s', '1m', '90s', '1h', '2d', '1500ms']) {
    test(`${text} is written as it was read`, () => {
      const answer = parseDuration(text);
      assert.ok(answer.ok);
      assert.equal(formatDuration(answer.value), text);
    });
  }
});

describe('MIN,MAX and N/PERIOD', () => {
  test('a range, with white space and mixed units', () => {
    assert.deepEqual(TIME_RANGE.parse('1s, 30s'), { ok: true, value: { minMs: 1_000, maxMs: 30_000 } });
    assert.deepEqual(TIME_RANGE.parse('500ms,1m'), { ok: true, value: { minMs: 500, maxMs: 60_000 } });
    assert.deepEqual(TIME_RANGE.parse('2,2'), { ok: true, value: { minMs: 2_000, maxMs: 2_000 } });
  });
  const badRanges: [string, RegExp][] = [
    ['5s,1s', /MIN is greater than MAX/],
    ['1s', /comma/],
    ['1s,2s,3s', /comma/],
    ['0,30s', /MIN is wrong: it is zero/],
    ['1s,', /MAX is wrong: it is empty/],
    ['1s,x', /MAX is wrong/],
  ];
  for (const [text, problem] of badRanges) {
    test(`range "${text}" is refused`, () => assert.match(problemOf(TIME_RANGE.parse(text)), problem));
  }
  test('a rate', () => {
    assert.deepEqual(RATE.parse('10/5m'), { ok: true, value: { count: 10, periodMs: 300_000 } });
    assert.deepEqual(RATE.parse(' 3 / 60 '), { ok: true, value: { count: 3, periodMs: 60_000 } });
  });
  const badRates: [string, RegExp][] = [
    ['10', /slash/],
    ['10/5m/1', /slash/],
    ['0/5m', /zero .*--restart never/],
    ['-1/5m', /whole number/],
    ['1.5/5m', /whole number/],
    ['/5m', /whole number/],
    ['10/', /PERIOD is wrong: it is empty/],
    ['10/0s', /PERIOD is wrong: it is zero/],
    ['9999999/1s', /999999/],
  ];
  for (const [text, problem] of badRates) {
    test(`rate "${text}" is refused`, () => assert.match(problemOf(RATE.parse(text)), problem));
  }
});

describe('API root', () => {
  const good: [string, string][] = [
    ['https://api.telegram.org', 'https://api.telegram.org'],
    ['https://api.telegram.org/', 'https://api.telegram.org'],
    ['HTTPS://API.Telegram.org:443/', 'https://api.telegram.org'],
    ['http://127.0.0.1:8081', 'http://127.0.0.1:8081'],
    ['http://[::1]:8081/tg/', 'http://[::1]:8081/tg'],
    ['http://host/a/b//', 'http://host/a/b'],
    ['http://host/bot-api', 'http://host/bot-api'],
    [' http://host ', 'http://host'],
  ];
  for (const [text, root] of good) {
    test(`"${text}" is ${root}`, () => assert.deepEqual(API_ROOT.parse(text), { ok: true, value: root }));
  }
  const bad: [string, RegExp][] = [
    ['', /empty/],
    ['api.telegram.org', /http:\/\/ or https:\/\/ is missing/],
    ['localhost:8081', /http:\/\/ or https:\/\/ is missing/],
    ['localhost:8081/x', /http:\/\/ or https:\/\/ is missing/],
    ['ftp://host', /neither http nor https/],
    ['file:///etc/passwd', /neither/],
    ['http://', /not a URL/],
    ['http://user:pass@host', /user name or password/],
    ['http://user@host', /user name or password/],
    ['http://host/?a=1', /query/],
    ['http://host/?', /query/],
    ['http://host/#x', /query or a fragment/],
    [`https://api.telegram.org/bot${TOKEN}`, /token/],
    [`https://api.telegram.org/bot${TOKEN.replace(':', '%3A')}/`, /token/],
    ['https://api.telegram.org/bot', /ends in \/bot/],
    ['http://host:99999', /not a URL/],
  ];
  for (const [text, problem] of bad) {
    test(`"${maskSecrets(text)}" is refused`, () => assert.match(problemOf(API_ROOT.parse(text)), problem));
  }
});

describe('stray pattern', () => {
  for (const text of ['production_polling_bot\\.py', 'gunicorn', '^bot', 'a|b_bot', '(?<name>bot)']) {
    test(`${text} is kept as it is`, () =>
      assert.deepEqual(STRAY_PATTERN.parse(text), { ok: true, value: text }));
  }
  const bad: [string, RegExp][] = [
    ['', /every process/],
    ['  ', /every process/],
    ['.*', /empty text/],
    ['x*', /empty text/],
    ['bot|', /empty text/],
    ['^', /empty text/],
    ['.', /every program/],
    ['.+', /every program/],
    ['\\S', /every program/],
    ['[^/]', /every program/],
    ['a(', /Unterminated group/],
    ['[z-a]', /out of order/],
    ['*bot', /Nothing to repeat/],
  ];
  for (const [text, problem] of bad) {
    test(`"${text}" is refused`, () => assert.match(problemOf(STRAY_PATTERN.parse(text)), problem));
  }
});

describe('showing values', () => {
  test('tokens are masked wherever they stand', () => {
    assert.equal(maskSecrets(`a ${TOKEN} b ${TOKEN}`), 'a 123456:… b 123456:…');
    assert.equal(maskSecrets('http://u:p@h/bot1'), 'http://…@h/bot1');
    assert.equal(maskSecrets('10:30, a@b'), '10:30, a@b');
    assert.equal(holdsTokenShape(`--token=${TOKEN}`), true);
    assert.equal(holdsTokenShape(`--token=${TOKEN}`), true, 'asking twice answers the same');
    assert.equal(holdsTokenShape('localhost:8081'), false);
  });
  test('nothing steers the terminal or floods it', () => {
    assert.equal(showValue('a\u001b[31m\n"b"'), '"a\\u001b[31m\\n\\"b\\""');
    assert.equal(showValue('\u009b1m\u202e'), '"\\u009b1m\\u202e"');
    assert.ok(showValue('x'.repeat(1e6)).length < 110);
    assert.ok(!showValue(`${'x'.repeat(95)}${TOKEN}`).includes('AAA'), 'cut after masking, not before');
  });
});

describe('suggestions', () => {
  const known = ['stopTimeout', 'stray', 'strayScope', 'backoff', 'wait', 'config'];
  const cases: [string, string | null][] = [
    ['stopTimout', 'stopTimeout'],
    ['stop-timeout', 'stopTimeout'],
    ['STOP_TIMEOUT', 'stopTimeout'],
    ['bakcoff', 'backoff'],
    ['strays', 'stray'],
    ['wiat', 'wait'],
    ['zzz', null],
    ['', null],
    ['x'.repeat(100_000), null],
  ];
  for (const [typed, meant] of cases) {
    test(`"${typed.slice(0, 20)}" means ${meant}`, () => assert.equal(suggest(typed, known), meant));
  }
});
