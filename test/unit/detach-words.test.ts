/** What a detached process is started with means what was typed; sizes as people type them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { addOptions, flagWords, type RawFlags, readFlags } from '../../src/config/options.ts';
import { COUNT, SIZE } from '../../src/config/values.ts';
import { readyLine, readyText } from '../../src/detach/messages.ts';

test('flags as words are read back as the same flags', () => {
  const all: RawFlags[] = [
    {},
    { detach: true, wait: false, takeover: false },
    { stray: ['a b', '--x', '-y'], gateway: false, config: 'x y.toml', tokenFile: '' },
    { heartbeat: '5s', logFile: '-', sandbox: true, lease: 'env:REDIS_URL' },
  ];
  for (const flags of all) {
    const command = addOptions(new Command().exitOverride(), 'start')
      .argument('[words...]')
      .passThroughOptions();
    command.parse([...flagWords(flags), '--', 'node', '--wait'], { from: 'user' });
    assert.deepEqual(readFlags(command), flags);
    assert.deepEqual(command.args, ['node', '--wait']);
  }
});

test('ready is told apart from what is to be shown', () => {
  assert.equal(readyText(readyLine('it polls\nhere').trimEnd()), 'it polls here');
  assert.equal(readyText('[poll] ready'), null);
});

test('sizes and counts', () => {
  const size = (text: string) => {
    const answer = SIZE.parse(text);
    return answer.ok ? answer.value : answer.problem;
  };
  assert.equal(size('10MB'), 10 * 1024 * 1024);
  assert.equal(size('512k'), 512 * 1024);
  assert.equal(size(' 1.5 GiB '), 1.5 * 1024 ** 3);
  assert.equal(size('8192'), 8192);
  assert.equal(size('8192b'), 8192);
  for (const text of ['', 'x', '-1M', '1T', '1MBB'])
    assert.match(String(size(text)), /empty|not a size/, text);
  assert.match(String(size('100')), /smaller than 4K/);
  assert.deepEqual(COUNT.parse('0'), { ok: true, value: 0 });
  assert.equal(COUNT.parse('1000').ok, false);
  assert.equal(COUNT.parse('-1').ok, false);
});
