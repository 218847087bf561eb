// What somebody mistypes is answered with what may have been meant.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed } from '../support/bed.ts';

test('a mistyped command, option, choice, key of the TOML file or variable', async (t) => {
  const b = await bed(t);
  b.file('keys.toml', 'stopTimout = 3\n');
  const rows: [string[], number, RegExp[]][] = [
    [['statsu'], 64, [/unknown command 'statsu'/, /Did you mean status\?/, /singlepoll --help/]],
    [['start', '--sealde'], 64, [/'--sealde'/, /Did you mean --sealed\?/, /singlepoll start --help/]],
    [['completion', 'bsh'], 64, [/'bsh'.*bash, zsh, fish/]],
    [
      ['start', '-c', 'keys.toml', '--on-rival', 'yeld', '--', 'true'],
      78,
      [
        /--on-rival is "yeld": .*did you mean yield\?/,
        /stopTimout in keys\.toml line 1: .*mean stopTimeout\?/,
      ],
    ],
  ];
  for (const [args, code, patterns] of rows) {
    const { code: ended, stderr, stdout } = await b.run(args);
    assert.deepEqual([ended, stdout], [code, ''], stderr);
    for (const pattern of patterns) assert.match(stderr, pattern);
  }
  const env = { ...b.env, SINGLEPOLL_STOP_TIMOUT: '3' };
  const { stderr } = await b.run(['start', '--dry-run', '--', 'true'], { env });
  assert.match(stderr, /SINGLEPOLL_STOP_TIMOUT in the environment: .*did you mean SINGLEPOLL_STOP_TIMEOUT\?/);
});
