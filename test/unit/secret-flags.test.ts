import assert from 'node:assert/strict';
import { test } from 'node:test';
import { secretFlags } from '../../src/config/targets.ts';

test('secret flags: a lease with a password, the URL of an alert; not a variable’s name, nor a URL without', () => {
  const lease = 'redis://:geheim@10.0.0.1';
  const alertUrl = 'https://hooks.slack.com/services/T0/B0/XXXX';
  assert.deepEqual(secretFlags({ lease, alertUrl, detach: true }), [
    { name: 'lease', value: lease },
    { name: 'alertUrl', value: alertUrl },
  ]);
  assert.deepEqual(secretFlags({ lease: 'redis://10.0.0.1', alertUrl: 'env:HOOK' }), []);
});
