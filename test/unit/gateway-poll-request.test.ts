/** A poll's parameters, read as the server reads them and written anew: the offset untouched, only the timeout shortened. */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import {
  pollBody,
  pollOffset,
  pollTimeoutMs,
  READ_BYTES_MAX,
  readArgs,
  readSmallBody,
  TooLarge,
} from '../../src/gateway/poll-request.ts';

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const read = (query: string, body = '', headers: IncomingMessage['headers'] = FORM) =>
  readArgs(query, Buffer.from(body), headers);
const sent = (body: string) => Object.fromEntries(new URLSearchParams(body));

test('from the query, a form, JSON: the first of a name wins', () => {
  assert.equal(pollOffset(read('?offset=5', 'offset=6')), 5);
  const json = read('', '{"offset":-3,"timeout":"20","allowed_updates":["message"]}', {
    'content-type': 'application/json',
  });
  assert.equal(pollOffset(json), -3);
  assert.equal(pollTimeoutMs(json), 20_000);
  assert.deepEqual(sent(pollBody(json, null)), {
    offset: '-3',
    timeout: '20',
    allowed_updates: '["message"]',
  });
});

test('the timeout as the server clamps it: 0 … 50 s', () => {
  const timeouts = ['?timeout=60', '?timeout=50', '?timeout=-1', '?timeout=abc', '', '?timeout=7x'];
  assert.deepEqual(
    timeouts.map((query) => pollTimeoutMs(read(query))),
    [50_000, 50_000, 0, 0, 0, 7_000],
  );
});

test('an offset that is not there is told from one that is 0', () => {
  assert.equal(pollOffset(read('')), null);
  assert.equal(pollOffset(read('?offset=0')), 0);
});

test('offsets pass through untouched, odd ones too', () => {
  for (const offset of ['99999999999999', ' 5', '+5', '5.9', 'x', ''])
    assert.equal(sent(pollBody(read(`?offset=${encodeURIComponent(offset)}`), 3_000)).offset, offset);
});

test('the worker’s own words where all its time is left; else only the timeout is another', () => {
  const args = read('?offset=7&limit=1&timeout=30&method=getUpdates&x=a%26b%3D%C3%A4');
  assert.deepEqual(sent(pollBody(args, null)), { offset: '7', limit: '1', timeout: '30', x: 'a&b=ä' });
  assert.deepEqual(sent(pollBody(args, 12_999)), { offset: '7', limit: '1', x: 'a&b=ä', timeout: '12' });
});

test('no parameters at all: none upstream', () => {
  assert.equal(pollBody(read(''), null), '');
  assert.equal(pollBody(read(''), 0), 'timeout=0');
});

test('a body of a type that the server ignores is ignored', () => {
  const args = read('', '{"offset":9}', { 'content-type': 'text/plain' });
  assert.equal(pollOffset(args), null);
});

function incoming(...chunks: Buffer[]): IncomingMessage {
  return Readable.from(chunks) as unknown as IncomingMessage;
}

test('a body is read whole, up to 1 MiB', async () => {
  const body = await readSmallBody(incoming(Buffer.from('off'), Buffer.from('set=1')));
  assert.equal(body.toString(), 'offset=1');
  const most = await readSmallBody(incoming(Buffer.alloc(READ_BYTES_MAX)));
  assert.equal(most.length, READ_BYTES_MAX);
  await assert.rejects(readSmallBody(incoming(Buffer.alloc(READ_BYTES_MAX), Buffer.alloc(1))), TooLarge);
});

test('a client that leaves in the middle is an error, not half a body', async () => {
  const body = new Readable({ read() {} }) as unknown as IncomingMessage;
  const reading = readSmallBody(body);
  (body as unknown as Readable).push('off');
  body.destroy(new Error('aborted'));
  await assert.rejects(reading, /aborted/);
});
