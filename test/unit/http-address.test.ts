/** `--http`: what is an address, and that being seen from outside has to be asked for. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HTTP_ADDRESS, isLoopback, showHttpAddress } from '../../src/config/values.ts';

describe('an address', () => {
  const good: [string, string, number, boolean][] = [
    ['8080', '127.0.0.1', 8080, true],
    [':8080', '127.0.0.1', 8080, true],
    [' 8080 ', '127.0.0.1', 8080, true],
    ['localhost:8080', '127.0.0.1', 8080, true],
    ['127.0.0.1:8080', '127.0.0.1', 8080, true],
    ['127.3.4.5:1', '127.3.4.5', 1, true],
    ['[::1]:8080', '::1', 8080, true],
    ['[::ffff:127.0.0.1]:8080', '::ffff:127.0.0.1', 8080, true],
    ['0.0.0.0:8080', '0.0.0.0', 8080, false],
    ['[::]:65535', '::', 65535, false],
    ['10.0.0.7:8080', '10.0.0.7', 8080, false],
    ['0', '127.0.0.1', 0, true],
  ];
  for (const [text, host, port, loopback] of good) {
    test(`"${text}"`, () => {
      const answer = HTTP_ADDRESS.parse(text);
      assert.deepEqual(answer, { ok: true, value: { host, port } });
      assert.equal(isLoopback({ host, port }), loopback);
    });
  }
  const bad: [string, RegExp][] = [
    ['', /does not end in a port/],
    ['abc', /does not end in a port/],
    ['127.0.0.1', /does not end in a port/],
    ['65536', /no such port/],
    ['-1', /does not end in a port/],
    ['8080.5', /does not end in a port/],
    ['1.2.3:80', /no IP address/],
    ['300.0.0.1:80', /no IP address/],
    ['bot.example.com:80', /no IP address/],
    ['::1:8080', /stands in brackets/],
    ['[127.0.0.1]:8080', /no IPv6 address/],
    ['[::1]', /does not end in a port/],
    ['http://127.0.0.1:8080', /a URL/],
    ['127.0.0.1:8080/metrics', /does not end in a port/],
  ];
  for (const [text, problem] of bad) {
    test(`"${text}" is none`, () => {
      const answer = HTTP_ADDRESS.parse(text);
      assert.ok(!answer.ok);
      assert.match(answer.problem, problem);
    });
  }
  test('shown as it can be typed into a browser', () => {
    assert.equal(showHttpAddress({ host: '::1', port: 80 }), '[::1]:80');
    assert.equal(showHttpAddress({ host: '0.0.0.0', port: 80 }), '0.0.0.0:80');
  });
});
