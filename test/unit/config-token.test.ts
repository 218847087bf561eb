/** Where the token is looked for, in which order, and that no message ever shows one. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: env files hold such references.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findToken, readToken, type TokenPlaces, type TokenSearch } from '../../src/config/token.ts';

const secret = (letter: string): string => letter.repeat(35);
const ONE = `111111:${secret('A')}`;
const ONE_RENEWED = `111111:${secret('B')}`;
const TWO = `222222:${secret('C')}`;
const MINE = { name: 'MINE', where: '--token-env' };

type Places = Partial<TokenPlaces> & { file?: Record<string, string> };

function search({ file, ...rest }: Places): TokenSearch {
  const envFile = file ? { vars: file, shown: '.env' } : null;
  const result = findToken({ tokenFile: null, tokenEnv: null, environment: {}, envFile, ...rest });
  const said = JSON.stringify([result.errors, result.warnings, result.found?.source]);
  assert.doesNotMatch(said, /A{6}|B{6}|C{6}/, 'a token was shown');
  return result;
}

test('the first place counts; the same token elsewhere is no matter', () => {
  const cases: [Places, string][] = [
    [{ environment: { BOT_TOKEN: ONE, TELEGRAM_BOT_TOKEN: ONE } }, 'TELEGRAM_BOT_TOKEN in the environment'],
    [{ environment: { TELEGRAM_TOKEN: ONE, BOT_TOKEN: ONE } }, 'BOT_TOKEN in the environment'],
    [{ environment: { TELEGRAM_TOKEN: ONE } }, 'TELEGRAM_TOKEN in the environment'],
    [{ environment: { BOT_TOKEN: ONE }, file: { BOT_TOKEN: ONE } }, 'BOT_TOKEN in the environment'],
    [{ environment: { TELEGRAM_BOT_TOKEN: '' }, file: { BOT_TOKEN: ONE } }, 'BOT_TOKEN in .env'],
    [{ tokenEnv: MINE, environment: { MINE: ONE, TELEGRAM_BOT_TOKEN: ONE } }, 'MINE in the environment'],
    [{ tokenEnv: MINE, file: { MINE: ONE }, environment: { BOT_TOKEN: ONE } }, 'MINE in .env'],
    [
      {
        tokenEnv: { name: 'BOT_TOKEN', where: '--token-env' },
        environment: { BOT_TOKEN: ONE, TELEGRAM_BOT_TOKEN: ONE },
      },
      'BOT_TOKEN in the environment',
    ],
  ];
  for (const [places, source] of cases) {
    const { found, errors, warnings } = search(places);
    assert.deepEqual([found, errors, warnings], [{ token: ONE, botId: 111111, source }, [], []]);
  }
  assert.deepEqual(
    search({}),
    { found: null, errors: [], warnings: [], variables: [] },
    'none is no error here',
  );
  const { variables } = search({ environment: { TELEGRAM_TOKEN: ONE }, file: { BOT_TOKEN: 'your-token' } });
  assert.deepEqual(variables, ['TELEGRAM_TOKEN', 'BOT_TOKEN'], 'every variable that is set is named');
});

test('two tokens: of different bots is an error', () => {
  const cases: [Places, RegExp][] = [
    [
      { environment: { TELEGRAM_BOT_TOKEN: ONE, BOT_TOKEN: TWO } },
      /TELEGRAM_BOT_TOKEN in the environment is bot 111111, BOT_TOKEN in the environment is bot 222222/,
    ],
    [
      { environment: { TELEGRAM_TOKEN: ONE }, file: { BOT_TOKEN: TWO } },
      /TELEGRAM_TOKEN in the environment is bot 111111, BOT_TOKEN in \.env is bot 222222/,
    ],
    [
      { tokenEnv: MINE, environment: { MINE: ONE, BOT_TOKEN: TWO } },
      /MINE in the environment is bot 111111, BOT_TOKEN/,
    ],
    [
      { tokenFile: inFile(ONE), environment: { BOT_TOKEN: TWO } },
      /the file secrets\/token is bot 111111, BOT/,
    ],
    [
      { environment: { TELEGRAM_BOT_TOKEN: 'nonsense1', BOT_TOKEN: ONE } },
      /is no bot token: there is no colon/,
    ],
    [{ tokenEnv: MINE, file: {}, environment: { BOT_TOKEN: ONE } }, /MINE is not set .* nor in \.env/],
  ];
  for (const [places, message] of cases) {
    const { found, errors } = search(places);
    assert.equal(found, null);
    assert.equal(errors.length, 1);
    assert.match(errors[0]!, message);
  }
});

test('two tokens: of one bot, overridden, or malformed in a weaker place is worth a warning', () => {
  const cases: [Places, RegExp][] = [
    [
      { environment: { BOT_TOKEN: ONE }, file: { TELEGRAM_TOKEN: ONE_RENEWED } },
      /TELEGRAM_TOKEN in \.env holds another secret for bot 111111/,
    ],
    [
      { environment: { BOT_TOKEN: ONE }, file: { BOT_TOKEN: TWO } },
      /BOT_TOKEN in \.env is bot 222222; the environment wins with bot 111111/,
    ],
    [
      { environment: { BOT_TOKEN: ONE }, file: { TELEGRAM_TOKEN: 'changeme' } },
      /TELEGRAM_TOKEN in \.env is no bot token and is not used: it is a placeholder/,
    ],
  ];
  for (const [places, message] of cases) {
    const { found, errors, warnings } = search(places);
    assert.deepEqual([found?.token, errors], [ONE, []]);
    assert.match(warnings.join(), message);
  }
});

function inFile(text: string, mode = 0o600) {
  return { file: { kind: 'text', text, mode }, shown: 'secrets/token', where: '--token-file' } as const;
}

describe('token file', () => {
  test('first line, trimmed; before everything else', () => {
    const tokenFile = inFile(`  ${ONE}\r\nsecond line`);
    const { found, warnings } = search({ tokenFile, environment: { BOT_TOKEN: ONE } });
    assert.deepEqual(found, { token: ONE, botId: 111111, source: 'the file secrets/token' });
    assert.deepEqual(warnings, []);
  });
  test('one that others may read is warned of', () => {
    for (const mode of [0o644, 0o640, 0o602]) {
      const { found, warnings } = search({ tokenFile: inFile(ONE, mode) });
      assert.equal(found?.token, ONE);
      assert.match(warnings.join(), new RegExp(`mode 0${mode.toString(8)}\\): chmod 600 secrets/token`));
    }
  });
  test('one that holds none is an error', () => {
    const place = inFile('');
    const bad: [TokenPlaces['tokenFile'], RegExp][] = [
      [{ ...place, file: { kind: 'missing' } }, /--token-file: the token file secrets\/token is not there/],
      [
        { ...place, file: { kind: 'irregular', problem: 'it is a folder' } },
        /cannot be used: it is a folder/,
      ],
      [place, /is empty/],
      [inFile(' \n\n'), /is empty/],
      [inFile(`\n${ONE}`), /empty first line/],
      [inFile('nonsense1'), /the file secrets\/token is no bot token: there is no colon/],
      [inFile(`BOT_TOKEN=${ONE}`), /NAME=value/],
    ];
    for (const [tokenFile, message] of bad) {
      const { found, errors } = search({ tokenFile });
      assert.equal(found, null);
      assert.match(errors[0]!, message);
    }
  });
});

describe('shape', () => {
  test('what is a token, and what people paste in place of one', () => {
    for (const token of [ONE, `7:${secret('A')}`, `8123456789:AA-_${'x'.repeat(31)}`, `1:${'a'.repeat(24)}`])
      assert.ok(readToken(token).ok);
    // A real secret that happens to hold such a word.
    assert.ok(readToken(`111111:tokenHERExxxx${'a1'.repeat(11)}`).ok);
    const bad: [string, RegExp][] = [
      [' ', /blank/],
      [`${ONE}\n`, /white space around/],
      [`"${ONE}"`, /quotes/],
      [`bot${ONE}`, /begins with "bot"/],
      [`https://api.telegram.org/bot${ONE}`, /URL/],
      [`111111: ${secret('A')}`, /white space in/],
      ['your-token-here', /placeholder/],
      ['123456:your-token', /placeholder/],
      ['<token>', /placeholder/],
      ['${BOT_TOKEN}', /placeholder/],
      ['123456:ABC-DEF...', /placeholder/],
      ['123456', /bot id alone/],
      [`111111${secret('A')}`, /no colon/],
      [`abc123:${secret('A')}`, /not a bot id/],
      [`0123:${secret('A')}`, /not a bot id/],
      [`${'9'.repeat(17)}:${secret('A')}`, /not a bot id/],
      ['111111:', /nothing after/],
      [`111111:${secret('A')}:x1`, /more than one colon/],
      [`111111:${secret('A')}+`, /characters other than/],
      ['111111:AAAAAAAAAAAAAAAAAAAAAAA', /23 characters only/],
    ];
    for (const [text, problem] of bad) {
      const { found, errors } = search({ environment: { BOT_TOKEN: text } });
      assert.equal(found, null);
      assert.match(errors[0]!, problem);
    }
  });
  test('no part of a token comes out of any damage to it', () => {
    const word = 'a1b2c3d4e5f6g7h8i9j0kLmNoPqRsTuVwXy';
    const token = `123456:${word}`;
    for (let cut = 0; cut < token.length; cut++) {
      const [head, tail] = [token.slice(0, cut), token.slice(cut)];
      for (const text of [head, tail, `${head}!${tail}`, `x${token}`, `${token}!`, token.replace(':', '')]) {
        const { errors, warnings } = search({ environment: { BOT_TOKEN: text } });
        const said = JSON.stringify([errors, warnings]);
        for (let start = 0; start + 8 <= word.length; start++)
          assert.ok(!said.includes(word.slice(start, start + 8)), `${said} shows ${word}`);
      }
    }
  });
});
