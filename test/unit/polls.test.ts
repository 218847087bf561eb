// A client that hangs up between its request and its turn: its poll must never go upstream.
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { test } from 'node:test';
import { createArgs } from '../../src/gateway/params.ts';
import { createPolls } from '../../src/gateway/polls.ts';
import type { HttpClient } from '../../src/telegram/http-client.ts';

/** Asks once while the door is shut, then opens it; the paths that went upstream. */
function pathsSent(hangsUp: boolean): string[] {
  const sent: string[] = [];
  let mayPoll = false;
  const client = {
    ask({ path }: { path: string }) {
      sent.push(path);
      return new Promise(() => {});
    },
  };
  const polls = createPolls({
    client: client as unknown as HttpClient,
    root: new URL('http://127.0.0.1'),
    token: '123:abc',
    pidOf: () => null,
    mayPoll: () => mayPoll,
    ownWebhook: () => false,
    onNews: () => {},
  });
  const response = Object.assign(new EventEmitter(), { destroyed: true }) as unknown as ServerResponse;
  const request = { headers: {}, socket: {} } as unknown as IncomingMessage;
  polls.ask({ request, response, args: createArgs(), environment: '/test', name: 'pid 1', connection: 1 });
  if (hangsUp) response.emit('close');
  mayPoll = true;
  polls.tell({ kind: 'opened' });
  polls.close();
  return sent;
}

test('a poll whose client hung up before its turn is not sent', () => {
  assert.deepEqual(pathsSent(true), []);
});

test('a poll whose client waits goes to its own environment', () => {
  assert.deepEqual(pathsSent(false), ['/bot123:abc/test/getUpdates']);
});
