/** Which headers pass the gateway, and which belong to one connection only (RFC 9110, section 7.6.1). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { downstreamHeaders, upstreamHeaders } from '../../src/gateway/headers.ts';

test('upstream: all but those of the connection, the host and an expectation that is met', () => {
  const raw = [
    ...['Host', '127.0.0.1:1', 'User-Agent', 'x/1', 'Connection', 'keep-alive', 'Keep-Alive', 'timeout=5'],
    ...['Content-Type', 'multipart/form-data; boundary=a', 'Content-Length', '5', 'Expect', '100-continue'],
    ...['Transfer-Encoding', 'chunked', 'TE', 'trailers', 'Upgrade', 'h2c', 'Proxy-Authorization', 'Basic x'],
  ];
  assert.deepEqual(upstreamHeaders(raw), [
    ...['User-Agent', 'x/1', 'Content-Type', 'multipart/form-data; boundary=a', 'Content-Length', '5'],
  ]);
});

test('a header that Connection names goes no further either, in any case and order', () => {
  const raw = ['X-Hop', '1', 'X-Kept', '2', 'connection', 'close, X-HOP ,x-other', 'X-Other', '3'];
  assert.deepEqual(upstreamHeaders(raw), ['X-Kept', '2']);
});

test('a repeated header keeps all its values', () => {
  assert.deepEqual(upstreamHeaders(['Cookie', 'a', 'Cookie', 'b']), ['Cookie', 'a', 'Cookie', 'b']);
});

test('downstream: buffers are read as latin1; Retry-After and Content-Length stay', () => {
  const raw = [
    Buffer.from('Retry-After'),
    Buffer.from('5'),
    'Content-Length',
    '12',
    Buffer.from('X-\xe9', 'latin1'),
    '1',
  ];
  assert.deepEqual(downstreamHeaders([...raw, 'Connection', 'close', 'Transfer-Encoding', 'chunked']), [
    ...['Retry-After', '5', 'Content-Length', '12', 'X-\xe9', '1'],
  ]);
});
