/** The option table: its names, its help, what commander makes of it, and flags as words again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import {
  addOptions,
  type CommandName,
  flagWords,
  longFlag,
  OPTION_NAMES,
  optionRow,
  type RawFlags,
  readFlags,
} from '../../src/config/options.ts';

function parse(args: readonly string[], name: CommandName = 'start'): { flags: RawFlags; words: string[] } {
  const command = addOptions(new Command().exitOverride().configureOutput({ writeErr: () => {} }), name)
    .argument('[command...]')
    .passThroughOptions();
  command.parse([...args], { from: 'user' });
  return { flags: readFlags(command), words: command.args };
}

test('values stay text, lists grow, flags are true or taken back; what is not typed is not there', () => {
  const typed = '-c x.toml --stray a --backoff nonsense --stray=b --wait --no-takeover --no-gateway --alerts';
  assert.deepEqual(parse([...typed.split(' '), 'node', 'bot.js']), {
    flags: {
      ...{ config: 'x.toml', stray: ['a', 'b'], backoff: 'nonsense', wait: true, takeover: false },
      ...{ gateway: false, alerts: true },
    },
    words: ['node', 'bot.js'],
  });
  assert.deepEqual(parse([]), { flags: {}, words: [] });
});

test('the words of the command are kept, options and all', () => {
  const words = ['node', 'bot.js', '--wait', '-c', 'x'];
  assert.deepEqual(parse(['--wait', ...words]).words, words);
  const odd = ['node', '--wait', '--', '', 'a b'];
  assert.deepEqual(parse(['--', ...odd]).words, odd);
});

test('a command knows its own options only', () => {
  assert.deepEqual(parse(['--env-file', 'x'], 'status').flags, { envFile: 'x' });
  assert.deepEqual(parse(['--stray', 'x'], 'who').flags, { stray: ['x'] });
  assert.throws(() => parse(['--backoff', '1s,2s'], 'status'), /unknown option/);
  assert.throws(() => parse(['--token', 'x']), /unknown option/);
});

test('help shows every option with its default, which is the default, and no other form', () => {
  const help = addOptions(new Command(), 'start').configureHelp({ helpWidth: 2000 }).helpInformation();
  for (const name of OPTION_NAMES) {
    const line = help.split('\n').find((text) => text.includes(`${longFlag(name)} `));
    assert.ok(line?.includes('(default: '), longFlag(name));
    const row = optionRow(name);
    if (row.kind === 'value' && row.initial !== null)
      assert.deepEqual(row.parse(row.defaultText), { ok: true, value: row.initial }, name);
  }
  const negative = [...help.matchAll(/^ +--no-(\w+)/gm)].map(([, word]) => word);
  assert.deepEqual(negative, ['gateway', 'alerts']);
  assert.doesNotMatch(help, /^ +--gateway /m);
  assert.match(help, /--stop-timeout <time>.*\(default: 15s\)/);
});

test('flags as words are read back as the same flags', () => {
  const all: RawFlags[] = [
    {},
    { detach: true, wait: false, takeover: false },
    { stray: ['a b', '--x', '-y'], gateway: false, config: 'x y.toml', tokenFile: '' },
    { heartbeat: '5s', logFile: '-', alerts: true, lease: 'env:REDIS_URL' },
  ];
  for (const flags of all) {
    const read = parse([...flagWords(flags), '--', 'node', '--wait']);
    assert.deepEqual(read, { flags, words: ['node', '--wait'] });
  }
});
