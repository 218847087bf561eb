import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PastFacts, pastWords } from '../../src/intercept/past.ts';

const facts = (change: Partial<PastFacts>): PastFacts => ({
  ...{ exe: '/usr/bin/node', argv: ['node', 'bot.js'], isProxied: false, mode: 'auto' },
  names: new Set(['SINGLEPOLL_HOOK', 'NODE_OPTIONS', 'PYTHONPATH']),
  ...change,
});

test('each reason names one thing to do', () => {
  const useRoot = /^let the bot take its API root from TELEGRAM_API_ROOT$/;
  const python = (...words: string[]) => ({ exe: '/usr/bin/python3.11', argv: ['python3', ...words] });
  const proxy = /^singlepoll start --intercept proxy$/;
  const rows: [Partial<PastFacts>, RegExp, RegExp][] = [
    [{}, /in its own way .*pinned certificate/, useRoot],
    [{ exe: '/app/mybot', argv: ['/app/mybot'] }, /^mybot can't load a hook/, proxy],
    [{ exe: '/app/mybot (deleted)' }, /^mybot can't/, proxy],
    [{ exe: '/app/mybot', isProxied: true }, /takes no proxy/, useRoot],
    [python('-I', 'bot.py'), /^python -I loads no hook/, /^leave -I out$/],
    [python('-u', '-sE', 'bot.py'), /^python -sE loads/, /-sE/],
    [python('-u', 'bot.py', '-I'), /in its own way/, useRoot],
    [
      { exe: '/usr/bin/php8.2' },
      /without what leads it in PHP_INI_SCAN_DIR$/,
      /singlepoll start -- php8\.2 …$/,
    ],
    [{ exe: '/usr/bin/ruby3.1' }, /in RUBYOPT$/, /add to RUBYOPT/],
    [{ names: new Set() }, /without its environment/, /sudo -u USER singlepoll start/],
    [{ mode: 'off' }, /--intercept off was given/, useRoot],
  ];
  for (const [change, why, cure] of rows) {
    const past = pastWords(facts(change));
    assert.match(past.why, why, JSON.stringify(change));
    assert.match(past.cure, cure, JSON.stringify(change));
  }
});
