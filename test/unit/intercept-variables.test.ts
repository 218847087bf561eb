// What the worker's environment says of the gateway: the user's own stays, and everything is taken back exactly.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  type Interception,
  interceptVariables,
  leaveInterception,
  TRUST_VARIABLES,
} from '../../src/intercept/variables.ts';

const base: Interception = {
  mode: 'auto',
  port: 4000,
  pid: 7,
  startTime: '99',
  authority: Buffer.from('ca'),
  hooks: '/p/hooks',
  nodeImport: null,
  trust: { bundle: (named) => `/t/of-${named ?? 'system'}`, keystore: '/t/k.jks', phpFolder: '/t' },
  runtimes: new Set(),
};

test('no hooks: nothing that would name a file', () => {
  const { SINGLEPOLL_HOOK_BEFORE: _, ...set } = interceptVariables({}, { ...base, hooks: null, trust: null });
  assert.deepEqual(Object.keys(set), ['SINGLEPOLL_HOOK']);
});

test('a proxy: where it is asked for, or the user has one; never else', () => {
  for (const [mode, env, isOn] of [
    ['proxy', {}, true],
    ['auto', { HTTPS_PROXY: 'http://corp:3128' }, true],
    ['auto', { https_proxy: 'http://corp:3128' }, true],
    ['auto', { HTTP_PROXY: 'http://corp:3128' }, false],
    ['auto', {}, false],
  ] as const) {
    const set = interceptVariables(env, { ...base, mode });
    assert.equal(set.HTTPS_PROXY, isOn ? 'http://127.0.0.1:4000' : undefined, JSON.stringify([mode, env]));
    for (const name of TRUST_VARIABLES) assert.equal(name in set, isOn, name);
  }
});

test('an inner supervisor gets the environment as it was before the outer one', () => {
  for (const env of [
    {},
    { NODE_OPTIONS: '-r x', HTTPS_PROXY: 'http://corp:1', PATH: '/bin' },
    { RUBYOPT: '' },
  ]) {
    const led = {
      ...env,
      ...interceptVariables(env, { ...base, mode: 'proxy', runtimes: new Set(['php']) }),
    };
    leaveInterception(led);
    assert.deepEqual(led, env);
  }
});

test('each hook is short enough to be read', () => {
  const folder = join(import.meta.dirname, '../../src/intercept/hooks');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (it) => /\.\w+$/.test(it) && !it.endsWith('.pyc'),
  );
  for (const file of files)
    assert.ok(readFileSync(join(folder, file), 'utf8').split('\n').length <= 121, file);
  assert.equal(files.length, 6);
});
