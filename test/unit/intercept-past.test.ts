import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PastFacts, pastWords } from '../../src/intercept/past.ts';

const facts = (change: Partial<PastFacts>): PastFacts => ({
  ...{ exe: '/usr/bin/node', argv: ['node', 'bot.js'], isLed: true, mode: 'auto', line: null },
  ...change,
});

test('each reason names one thing to do', () => {
  const rows: [Partial<PastFacts>, RegExp][] = [
    [{}, /of its own making .*To do: let it take its API root from TELEGRAM_API_ROOT$/],
    [{ line: 'new Bot(x)' }, /To do: let it take its API root from TELEGRAM_API_ROOT: new Bot\(x\)$/],
    [
      { exe: '/app/mybot', argv: ['/app/mybot'] },
      /mybot is a program that loads no hook .*--intercept proxy$/,
    ],
    [{ exe: '/app/mybot (deleted)' }, /^mybot is a program/],
    [{ exe: '/app/mybot', mode: 'proxy' }, /takes no proxy .*TELEGRAM_API_ROOT$/],
    [{ exe: '/usr/bin/python3.11', argv: ['python3', '-I', 'bot.py'] }, /-I, -E or -S .*leave that flag out/],
    [{ exe: '/usr/bin/python3.11', argv: ['python3', '-u', 'bot.py', '-I'] }, /of its own making/],
    [{ isLed: false }, /lost its environment/],
    [{ mode: 'off' }, /--intercept off was given/],
  ];
  for (const [change, words] of rows) assert.match(pastWords(facts(change)), words, JSON.stringify(change));
});
