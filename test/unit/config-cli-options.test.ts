/** The option table: its names, its help, and what commander makes of it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Command } from 'commander';
import {
  addOptions,
  type CommandName,
  envTwin,
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

describe('table', () => {
  test('the contract names these options, and this release has them', () => {
    assert.deepEqual(
      OPTION_NAMES.map(longFlag).sort(),
      [
        ...[
          '--api-root',
          '--backoff',
          '--config',
          '--drop-pending',
          '--dry-run',
          '--env-file',
          '--heartbeat',
        ],
        ...['--keep-webhook', '--log-format', '--max-restarts', '--restart', '--sandbox', '--stop-timeout'],
        ...['--no-gateway', '--gateway-port', '--sealed', '--on-rival', '--rival-after', '--deaf-after'],
        ...['--require-gateway', '--allow-set-webhook', '--lease', '--lease-profile', '--lease-ttl'],
        ...['--detach', '--start-timeout', '--log-file', '--log-size', '--log-keep'],
        ...['--http', '--ready-in-standby'],
        ...['--no-alerts', '--alert-url', '--alert-format', '--alert-cooldown', '--digest', '--digest-zone'],
        ...['--stray', '--stray-scope', '--takeover', '--token-env', '--token-file', '--wait'],
      ].sort(),
    );
  });
  test('twins', () => {
    assert.equal(envTwin('stopTimeout'), 'SINGLEPOLL_STOP_TIMEOUT');
    assert.equal(envTwin('wait'), 'SINGLEPOLL_WAIT');
    assert.equal(new Set(OPTION_NAMES.map(envTwin)).size, OPTION_NAMES.length);
  });
  for (const name of OPTION_NAMES) {
    const row = optionRow(name);
    if (row.kind !== 'value' || row.initial === null) continue;
    test(`${longFlag(name)}: the default in the help is the default`, () => {
      assert.deepEqual(row.parse(row.defaultText), { ok: true, value: row.initial });
    });
  }
});

describe('commander', () => {
  test('values stay text, lists grow, flags are true or taken back', () => {
    const args = [
      '-c',
      'x.toml',
      '--stray',
      'a',
      '--backoff',
      'nonsense',
      '--stray=b',
      '--wait',
      '--no-takeover',
    ];
    assert.deepEqual(parse([...args, 'node', 'bot.js']), {
      flags: { config: 'x.toml', stray: ['a', 'b'], backoff: 'nonsense', wait: true, takeover: false },
      words: ['node', 'bot.js'],
    });
  });
  test('what is not typed is not there', () => assert.deepEqual(parse([]), { flags: {}, words: [] }));
  test('the words of the command are kept, options and all', () => {
    assert.deepEqual(parse(['--wait', 'node', 'bot.js', '--wait', '-c', 'x']).words, [
      'node',
      'bot.js',
      '--wait',
      '-c',
      'x',
    ]);
    assert.deepEqual(parse(['--', 'node', '--wait', '--', '', 'a b']).words, [
      'node',
      '--wait',
      '--',
      '',
      'a b',
    ]);
  });
  test('a command knows its own options only', () => {
    assert.deepEqual(parse(['--env-file', 'x'], 'status').flags, { envFile: 'x' });
    assert.deepEqual(parse(['--stray', 'x'], 'who').flags, { stray: ['x'] });
    assert.throws(() => parse(['--backoff', '1s,2s'], 'status'), /unknown option/);
    assert.throws(() => parse(['--token', 'x']), /unknown option/);
  });
  test('help shows every option with its default, and no negations', () => {
    const help = addOptions(new Command(), 'start').configureHelp({ helpWidth: 2000 }).helpInformation();
    for (const name of OPTION_NAMES) {
      const line = help.split('\n').find((text) => text.includes(`${longFlag(name)} `));
      assert.ok(line?.includes('(default: '), longFlag(name));
    }
    assert.doesNotMatch(
      help.replace('--no-gateway', '').replace('--no-alerts', '').replace('unless --no-wait is given', ''),
      /--no-/,
    );
    assert.match(help, /--stop-timeout <time>.*\(default: 15s\)/);
  });
});
