// What somebody mistypes is answered with what may have been meant.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed } from '../support/bed.ts';

test('a mistyped command, option, choice, key of the TOML file or variable', async (t) => {
  const b = await bed(t);
  b.file('keys.toml', 'stopTimout = 3\nrestart = "nevr"\n');
  const rows: [string[], number, RegExp[]][] = [
    [['statsu'], 64, [/unknown command 'statsu'/, /Did you mean status\?/, /singlepoll --help/]],
    [
      ['start', '--sealde'],
      64,
      [/unknown option '--sealde'/, /Did you mean --sealed\?/, /singlepoll start --help/],
    ],
    [['start', '--stop-timout', '3'], 64, [/Did you mean --stop-timeout\?/]],
    [['sandbox', '--prot', '1'], 64, [/Did you mean --port\?/, /singlepoll sandbox --help/]],
    [['completion', 'bsh'], 64, [/'bsh'.*bash, zsh, fish/]],
    [
      ['start', '--restart', 'alwys', '--on-rival', 'yeld', '--', 'true'],
      78,
      [/--restart is "alwys": .*did you mean always\?/, /--on-rival is "yeld": .*did you mean yield\?/],
    ],
    [
      ['start', '-c', 'keys.toml', '--', 'true'],
      78,
      [
        /stopTimout in keys\.toml line 1: .*did you mean stopTimeout\?/,
        /line 2 is "nevr": .*did you mean never\?/,
      ],
    ],
    [['start', '--restart', 'sometimes', '--', 'true'], 78, [/none of the choices\. Accepted: always/]],
  ];
  await Promise.all(
    rows.map(async ([args, code, patterns]) => {
      const { code: ended, stderr, stdout } = await b.run(args);
      assert.equal(ended, code, stderr);
      assert.equal(stdout, '');
      for (const pattern of patterns) assert.match(stderr, pattern);
    }),
  );
  const env = { ...b.env, SINGLEPOLL_STOP_TIMOUT: '3' };
  const { stderr } = await b.run(['start', '--dry-run', '--', 'true'], { env });
  assert.match(
    stderr,
    /SINGLEPOLL_STOP_TIMOUT in the environment means nothing; did you mean SINGLEPOLL_STOP_TIMEOUT\?/,
  );
});
