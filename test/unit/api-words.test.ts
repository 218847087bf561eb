import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startWords } from '../../src/api/options.ts';

test('options are the flags of the command line, each with its value in the same word; the command comes last, behind --', () => {
  const cases: [object, string[]][] = [
    [{ stopTimeout: 20, logFile: '-x' }, ['--stop-timeout=20', '--log-file=-x']],
    [{ strayScope: 'any' }, ['--stray-scope=any']],
    [{ stray: ['a b', 'c'] }, ['--stray=a b', '--stray=c']],
    [{ stray: 'a' }, ['--stray=a']],
    [{ sealed: true, wait: false, noGateway: true }, ['--sealed', '--no-wait', '--no-gateway']],
    // What is undefined is not said.
    [{ gateway: false, alerts: true, lease: undefined }, ['--no-gateway', '--alerts']],
    [{ noGateway: false }, ['--gateway']],
    [{ command: ['node', '--x'], cwd: '/', env: {}, output: 'ignore', onState() {} }, ['--', 'node', '--x']],
    // What nobody has, the command answers.
    [{ stopTimout: 3 }, ['--stop-timout=3']],
  ];
  for (const [options, expected] of cases)
    assert.deepEqual(startWords(options), ['start', '--no-detach', '--no-dry-run', ...expected]);
  for (const name of ['detach', 'dryRun'])
    assert.throws(() => startWords({ [name]: true } as never), {
      ...{ name: 'SinglepollError', exitCode: 64 },
      message: `${name} is not an option of start()`,
    });
});
