/** Where the token is looked for, in which order, and that no message ever shows one. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: env files hold such references.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { readTextFile } from '../../src/config/files.ts';
import { findToken, readToken, type TokenPlaces, type TokenSearch } from '../../src/config/token.ts';

type TokenFile = ReturnType<typeof readTextFile>;
const secret = (letter: string): string => letter.repeat(35);
const ONE = `111111:${secret('A')}`;
const ONE_RENEWED = `111111:${secret('B')}`;
const TWO = `222222:${secret('C')}`;

function search(places: Partial<TokenPlaces> & { file?: Record<string, string> }): TokenSearch {
  const { file, ...rest } = places;
  const result = findToken({
    tokenFile: null,
    tokenEnv: null,
    environment: {},
    envFile: file ? { vars: file, shown: '.env' } : null,
    ...rest,
  });
  const said = JSON.stringify([result.errors, result.warnings, result.found?.source]);
  assert.doesNotMatch(said, /A{6}|B{6}|C{6}/, 'a token was shown');
  return result;
}

describe('order', () => {
  const cases: [string, Parameters<typeof search>[0], string][] = [
    [
      'TELEGRAM_BOT_TOKEN first',
      { environment: { BOT_TOKEN: ONE, TELEGRAM_BOT_TOKEN: ONE } },
      'TELEGRAM_BOT_TOKEN in the environment',
    ],
    [
      'then BOT_TOKEN',
      { environment: { TELEGRAM_TOKEN: ONE, BOT_TOKEN: ONE } },
      'BOT_TOKEN in the environment',
    ],
    ['then TELEGRAM_TOKEN', { environment: { TELEGRAM_TOKEN: ONE } }, 'TELEGRAM_TOKEN in the environment'],
    [
      'environment before env file',
      { environment: { BOT_TOKEN: ONE }, file: { BOT_TOKEN: ONE } },
      'BOT_TOKEN in the environment',
    ],
    ['env file', { file: { BOT_TOKEN: ONE } }, 'BOT_TOKEN in .env'],
    [
      'empty is not set',
      { environment: { TELEGRAM_BOT_TOKEN: '' }, file: { BOT_TOKEN: ONE } },
      'BOT_TOKEN in .env',
    ],
    [
      '--token-env before the usual names',
      {
        tokenEnv: { name: 'MINE', where: '--token-env' },
        environment: { MINE: ONE, TELEGRAM_BOT_TOKEN: ONE },
      },
      'MINE in the environment',
    ],
    [
      '--token-env in the env file',
      { tokenEnv: { name: 'MINE', where: '--token-env' }, file: { MINE: ONE } },
      'MINE in .env',
    ],
    [
      '--token-env with a usual name',
      {
        tokenEnv: { name: 'BOT_TOKEN', where: '--token-env' },
        environment: { BOT_TOKEN: ONE, TELEGRAM_BOT_TOKEN: ONE },
      },
      'BOT_TOKEN in the environment',
    ],
  ];
  for (const [title, places, source] of cases) {
    test(title, () => {
      const { found, errors, warnings } = search(places);
      assert.deepEqual([found, errors, warnings], [{ token: ONE, botId: 111111, source }, [], []]);
    });
  }
  test('none is no error here', () => {
    assert.deepEqual(search({}), { found: null, errors: [], warnings: [], variables: [] });
  });
  test('every variable that is set is named', () => {
    const { variables } = search({ environment: { TELEGRAM_TOKEN: ONE }, file: { BOT_TOKEN: 'your-token' } });
    assert.deepEqual([...variables].sort(), ['BOT_TOKEN', 'TELEGRAM_TOKEN']);
  });
});

describe('two tokens', () => {
  const cases: [string, Parameters<typeof search>[0], RegExp][] = [
    [
      'two variables',
      { environment: { TELEGRAM_BOT_TOKEN: ONE, BOT_TOKEN: TWO } },
      /TELEGRAM_BOT_TOKEN in the environment is bot 111111, BOT_TOKEN in the environment is bot 222222/,
    ],
    [
      'environment and env file',
      { environment: { TELEGRAM_TOKEN: ONE }, file: { BOT_TOKEN: TWO } },
      /TELEGRAM_TOKEN in the environment is bot 111111, BOT_TOKEN in \.env is bot 222222/,
    ],
    [
      '--token-env and a usual name',
      { tokenEnv: { name: 'MINE', where: '--token-env' }, environment: { MINE: ONE, BOT_TOKEN: TWO } },
      /MINE in the environment is bot 111111, BOT_TOKEN/,
    ],
  ];
  for (const [title, places, message] of cases) {
    test(`${title}: of different bots is an error`, () => {
      const { found, errors } = search(places);
      assert.equal(found, null);
      assert.equal(errors.length, 1);
      assert.match(errors[0]!, message);
    });
  }
  test('of one bot: the first counts, with a warning', () => {
    const { found, errors, warnings } = search({
      environment: { BOT_TOKEN: ONE },
      file: { TELEGRAM_TOKEN: ONE_RENEWED },
    });
    assert.equal(found?.token, ONE);
    assert.equal(errors.length, 0);
    assert.match(warnings.join(), /TELEGRAM_TOKEN in \.env holds another secret for bot 111111/);
  });
  test('one variable in both places: the environment wins, another bot in the file is worth a warning', () => {
    const { found, errors, warnings } = search({ environment: { BOT_TOKEN: ONE }, file: { BOT_TOKEN: TWO } });
    assert.equal(found?.token, ONE);
    assert.equal(errors.length, 0);
    assert.match(warnings.join(), /BOT_TOKEN in \.env is bot 222222; the environment wins with bot 111111/);
  });
  test('--token-env in the env file comes before the usual names of the environment', () => {
    const { found } = search({
      tokenEnv: { name: 'MINE', where: '--token-env' },
      environment: { BOT_TOKEN: ONE_RENEWED },
      file: { MINE: ONE },
    });
    assert.equal(found?.source, 'MINE in .env');
  });
  test('a malformed one in a weaker place is only a warning', () => {
    const { found, errors, warnings } = search({
      environment: { BOT_TOKEN: ONE },
      file: { TELEGRAM_TOKEN: 'changeme' },
    });
    assert.equal(found?.token, ONE);
    assert.equal(errors.length, 0);
    assert.match(
      warnings.join(),
      /TELEGRAM_TOKEN in \.env is no bot token and is not used: it is a placeholder/,
    );
  });
  test('a malformed one in the strongest place is not passed over', () => {
    const { found, errors } = search({ environment: { TELEGRAM_BOT_TOKEN: 'nonsense1', BOT_TOKEN: ONE } });
    assert.equal(found, null);
    assert.match(errors[0]!, /^TELEGRAM_BOT_TOKEN in the environment is no bot token: there is no colon/);
  });
});

describe('shape', () => {
  const good = [ONE, `7:${secret('A')}`, `8123456789:AA-_${'x'.repeat(31)}`, `1:${'a'.repeat(24)}`];
  for (const [index, token] of good.entries()) {
    test(`good ${index}`, () => assert.ok(readToken(token).ok));
  }
  const bad: [string, RegExp][] = [
    [' ', /blank/],
    [`${ONE}\n`, /white space around/],
    [` ${ONE}`, /white space around/],
    [`"${ONE}"`, /quotes/],
    [`'${ONE}'`, /quotes/],
    [`bot${ONE}`, /begins with "bot"/],
    [`https://api.telegram.org/bot${ONE}`, /URL/],
    [`111111: ${secret('A')}`, /white space in/],
    ['your-token-here', /placeholder/],
    ['123456:your-token', /placeholder/],
    ['<token>', /placeholder/],
    ['${BOT_TOKEN}', /placeholder/],
    ['123456:ABC-DEF...', /placeholder/],
    ['xxxx', /placeholder/],
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
    test(`${String(problem)}`, () => {
      const { found, errors } = search({ environment: { BOT_TOKEN: text } });
      assert.equal(found, null);
      assert.match(errors[0]!, problem);
    });
  }
  test('a real secret that happens to hold such a word is a token', () => {
    assert.ok(readToken(`111111:tokenHERExxxx${'a1'.repeat(11)}`).ok);
  });
  test('no part of a random token comes out of any damage to it', () => {
    for (let round = 0; round < 300; round++) {
      const word = Array.from({ length: 35 }, () => 'abcdefghijkmnpqrstuvwyz23456789'[randomInt(31)]).join(
        '',
      );
      const token = `123456:${word}`;
      const cut = randomInt(token.length);
      const damaged = [
        token.slice(cut),
        token.slice(0, cut),
        `${token}!`,
        `x${token}`,
        token.replace(':', ''),
      ];
      for (const text of damaged) {
        const result = findToken({
          tokenFile: null,
          tokenEnv: null,
          environment: { BOT_TOKEN: text },
          envFile: null,
        });
        const said = JSON.stringify([result.errors, result.warnings]);
        for (let start = 0; start + 8 <= 35; start++) {
          assert.ok(!said.includes(word.slice(start, start + 8)), `${said} shows ${word}`);
        }
      }
    }
  });
});

describe('token file', () => {
  let dir = '';
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'singlepoll-test-'));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  const inFile = (text: string, mode = 0o600) => {
    const path = join(dir, 'token');
    writeFileSync(path, text);
    chmodSync(path, mode);
    return { file: readTextFile(path), shown: 'secrets/token', where: '--token-file' };
  };

  test('first line, trimmed; before everything else', () => {
    const result = search({
      tokenFile: inFile(`\uFEFF  ${ONE}\r\nsecond line`),
      environment: { BOT_TOKEN: ONE },
    });
    assert.deepEqual(result.found, { token: ONE, botId: 111111, source: 'the file secrets/token' });
    assert.deepEqual(result.warnings, []);
  });
  test('another bot than the variable', () => {
    const { errors } = search({ tokenFile: inFile(ONE), environment: { BOT_TOKEN: TWO } });
    assert.match(
      errors[0]!,
      /the file secrets\/token is bot 111111, BOT_TOKEN in the environment is bot 222222/,
    );
  });
  for (const mode of [0o644, 0o640, 0o602]) {
    test(`mode ${mode.toString(8)} is warned of`, () => {
      const { found, warnings } = search({ tokenFile: inFile(ONE, mode) });
      assert.equal(found?.token, ONE);
      assert.match(warnings.join(), new RegExp(`mode 0${mode.toString(8)}\\): chmod 600 secrets/token`));
    });
  }
  const bad: [string, () => TokenFile, RegExp][] = [
    ['missing', () => readTextFile(join(dir, 'nothing')), /--token-file: the token file T is not there/],
    ['folder', () => readTextFile(dir), /it is a folder/],
    ['empty', () => inFile('').file, /is empty/],
    ['blank lines', () => inFile(' \n\n').file, /is empty/],
    ['empty first line', () => inFile(`\n${ONE}`).file, /empty first line/],
    ['nonsense', () => inFile('nonsense1').file, /the file T is no bot token: there is no colon/],
    ['BOT_TOKEN=…', () => inFile(`BOT_TOKEN=${ONE}`).file, /NAME=value/],
  ];
  for (const [title, file, message] of bad) {
    test(`${title} is an error`, () => {
      const { found, errors } = search({ tokenFile: { file: file(), shown: 'T', where: '--token-file' } });
      assert.equal(found, null);
      assert.match(errors[0]!, message);
    });
  }
});

test('--token-env with a variable that is not set', () => {
  const tokenEnv = { name: 'MINE', where: '--token-env' };
  assert.match(
    search({ tokenEnv, file: {} }).errors[0]!,
    /--token-env: the variable MINE is not set in the environment nor in \.env/,
  );
  const { found, errors } = search({ tokenEnv, environment: { BOT_TOKEN: ONE } });
  assert.equal(found, null);
  assert.equal(errors.length, 1);
});
