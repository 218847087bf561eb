// What the worker's environment says of the gateway: the user's own stays, and everything is taken back exactly.
import assert from 'node:assert/strict';
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
const HOOK = `4000:7:99:${Buffer.from('ca').toString('base64')}`;

test('hooks alone: what runtimes load, before or behind what the user has there, and nothing else', () => {
  const { SINGLEPOLL_HOOK_BEFORE: _, ...set } = interceptVariables({}, base);
  assert.deepEqual(set, {
    SINGLEPOLL_HOOK: HOOK,
    NODE_OPTIONS: '--require=/p/hooks/node.cjs',
    PYTHONPATH: '/p/hooks/python',
    RUBYOPT: '-r/p/hooks/ruby.rb',
  });
  const users = { NODE_OPTIONS: '--max-old-space-size=99', PYTHONPATH: '/mine', RUBYOPT: '-W0' };
  const own = interceptVariables(users, base);
  assert.equal(own.NODE_OPTIONS, '--require=/p/hooks/node.cjs --max-old-space-size=99');
  assert.equal(own.PYTHONPATH, '/p/hooks/python:/mine');
  assert.equal(own.RUBYOPT, '-W0 -r/p/hooks/ruby.rb');
});

test('no hooks: nothing that would name a file', () => {
  const { SINGLEPOLL_HOOK_BEFORE: _, ...set } = interceptVariables({}, { ...base, hooks: null, trust: null });
  assert.deepEqual(Object.keys(set), ['SINGLEPOLL_HOOK']);
});

test('a folder with a blank is quoted for Node, and left out for Ruby, which can not have it', () => {
  const set = interceptVariables({}, { ...base, hooks: '/p q/hooks' });
  assert.equal(set.NODE_OPTIONS, '--require="/p q/hooks/node.cjs"');
  assert.equal(set.RUBYOPT, undefined);
});

test("runtimes that need a file get theirs, and keep the user's", () => {
  const env = { PHP_INI_SCAN_DIR: '/mine', JAVA_TOOL_OPTIONS: '-Xmx9m', NODE_EXTRA_CA_CERTS: '/mine.pem' };
  const set = interceptVariables(env, { ...base, runtimes: new Set(['php', 'java', 'bun']) });
  assert.equal(set.PHP_INI_SCAN_DIR, '/mine:/t');
  assert.match(set.JAVA_TOOL_OPTIONS ?? '', /proxyPort=4000 .*trustStore=\/t\/k\.jks -Xmx9m$/);
  assert.equal(set.NODE_EXTRA_CA_CERTS, '/t/of-/mine.pem');
  assert.equal(interceptVariables({}, { ...base, runtimes: new Set(['php']) }).PHP_INI_SCAN_DIR, ':/t');
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
  const outer: Interception = { ...base, mode: 'proxy', runtimes: new Set(['php']) };
  const own = { NODE_OPTIONS: '-r x', HTTPS_PROXY: 'http://corp:1', PATH: '/bin' };
  for (const env of [{}, own, { RUBYOPT: '' }]) {
    const led = { ...env, ...interceptVariables(env, outer) };
    leaveInterception(led);
    assert.deepEqual(led, env);
  }
});
