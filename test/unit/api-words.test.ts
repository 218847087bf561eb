import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startWords } from '../../src/api/options.ts';

const words = (options: Parameters<typeof startWords>[0]) => startWords(options).slice(3);

test('options are the flags of the command line, each with its value in the same word', () => {
  assert.deepEqual(words({ stopTimeout: 20, strayScope: 'any', logFile: '-x' }), [
    '--stop-timeout=20',
    '--stray-scope=any',
    '--log-file=-x',
  ]);
  assert.deepEqual(words({ stray: ['a b', 'c'] }), ['--stray=a b', '--stray=c']);
  assert.deepEqual(words({ stray: 'a' }), ['--stray=a']);
});

test('yes and no; what is undefined is not said', () => {
  assert.deepEqual(words({ sealed: true, wait: false, noGateway: true }), [
    '--sealed',
    '--no-wait',
    '--no-gateway',
  ]);
  assert.deepEqual(words({ gateway: false, alerts: true, lease: undefined } as never), [
    '--no-gateway',
    '--alerts',
  ]);
  assert.deepEqual(words({ noGateway: false }), ['--gateway']);
});

test('the command comes last, behind --; what is not an option of the command is no word', () => {
  assert.deepEqual(words({ command: ['node', '--x'], cwd: '/', env: {}, output: 'ignore', onState() {} }), [
    '--',
    'node',
    '--x',
  ]);
  assert.deepEqual(startWords({}), ['start', '--no-detach', '--no-dry-run']);
});

test('what start() does not have is refused by name; what nobody has, the command answers', () => {
  for (const name of ['detach', 'dryRun'])
    assert.throws(() => startWords({ [name]: true } as never), {
      ...{ name: 'SinglepollError', exitCode: 64 },
      message: `${name} is not an option of start()`,
    });
  assert.deepEqual(words({ stopTimout: 3 } as never), ['--stop-timout=3']);
});
