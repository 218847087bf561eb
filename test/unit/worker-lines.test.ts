/** Which port a worker could not have, by the words of many programs; what sends a command to the background. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backgroundQuestion, takenPort } from '../../src/supervisor/worker-lines.ts';

const LINES: readonly (readonly [number | null, ...string[]])[] = [
  [3000, 'Error: listen EADDRINUSE: address already in use :::3000', '    at x (node:net:1908:16)'],
  [8000, "12:30:45 [ERROR] Connection in use: ('0.0.0.0', 8000)", 'Retrying in 1 second.'],
  [8001, "[2026-11-29 12:30:45 +0000] [ERROR] Connection in use: ('::', 8001, 0, 0)"],
  [8002, "[Errno 98] error while attempting to bind on address ('0.0.0.0', 8002): address already in use"],
  [5000, 'Address already in use', 'Port 5000 is in use by another program. Either identify and stop it'],
  [8080, '2026/11/29 12:00:01 listen tcp :8080: bind: address already in use'],
  [4567, 'Address already in use - bind(2) for "127.0.0.1" port 4567 (Errno::EADDRINUSE)'],
  [8003, 'Failed to listen on localhost:8003 (reason: Address already in use)'],
  [8081, 'Web server failed to start. Port 8081 was already in use.'],
  // They do not say which: the command does.
  [9999, 'OSError: [Errno 98] Address already in use'],
  [9999, 'error: AddrInUse: Address already in use (os error 98)'],
  [null, 'listening on :8080', 'TypeError: x is not a function'],
];

test('the port that is taken', () => {
  const command = ['python3', '-m', 'http.server', '9999'];
  for (const [port, ...lines] of LINES) assert.equal(takenPort(lines, command), port, lines[0]);
  assert.equal(takenPort(['Address already in use'], ['node', 'bot.js']), null);
});

test('what to leave out of a command that goes to the background', () => {
  for (const [command, cure] of [
    ['gunicorn app:app -D', 'leave out -D'],
    ['sh -c node bot.js &', 'leave out &'],
    ['pm2 start bot.js', 'leave out pm2 start'],
    ['python3 bot.py', 'no -D, --daemon, nohup or &'],
  ] as const)
    assert.ok(backgroundQuestion(command.split(' ')).endsWith(`: ${cure}`), command);
});
