/** --lease and its times: everything that may be wrong with them is told at once, with its place, and nothing secret. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import type { RawFlags } from '../../src/config/options.ts';
import { secretFlags } from '../../src/config/targets.ts';

/** Nobody listens there. */
const NOWHERE = 'redis://127.0.0.1:1';
const dir = mkdtempSync(join(tmpdir(), 'singlepoll-test-'));
after(() => rmSync(dir, { recursive: true, force: true }));

interface Case {
  flags?: RawFlags;
  env?: Record<string, string>;
  toml?: string;
  envFile?: string;
}

async function load(
  { flags = {}, env = {}, toml = '', envFile = '' }: Case,
  command: 'start' | 'status' = 'start',
) {
  writeFileSync(join(dir, 'singlepoll.toml'), toml);
  writeFileSync(join(dir, '.env'), envFile);
  const given = { BOT_TOKEN: `123456:${'A'.repeat(35)}`, ...env };
  return await loadConfig({ command, flags, argvCommand: ['bot'], env: given, cwd: dir });
}

const lease = (url: string, more: RawFlags = {}): Case => ({ flags: { lease: url, ...more } });

const WRONG: [Case, ...RegExp[]][] = [
  [
    lease('mysql://u:geheim@x'),
    /--lease is .*mysql.*Accepted: env:NAME.*redis:\/\/.*postgres:\/\/.*etcd:\/\/.*k8s:/,
  ],
  [lease(''), /--lease is/],
  [lease('redis://u:geheim/nis@127.0.0.1'), /--lease is .*%2F/],
  [lease('env:'), /--lease is "env:": behind env: stands no name of a variable/],
  [lease('env:SHARED'), /--lease is env:SHARED, and SHARED is not set/],
  [{ ...lease('env:SHARED'), env: { SHARED: ' ' } }, /SHARED is not set/],
  [{ ...lease('env:SHARED'), env: { SHARED: 'redis//:geheim@x' } }, /SHARED \(named by --lease\) is/],
  [{ ...lease('env:SHARED'), env: { SHARED: 'env:OTHER', OTHER: NOWHERE } }, /SHARED \(named by --lease\)/],
  [{ ...lease('env:SHARED'), envFile: 'SHARED=foo://u:geheim@x' }, /SHARED \(named by --lease\)/],
  [{ env: { SINGLEPOLL_LEASE: 'mysql://u:geheim@x' } }, /SINGLEPOLL_LEASE in the environment is/],
  [{ toml: 'lease = "mysql://u:geheim@x"' }, /lease in singlepoll\.toml line 1 is/],
  [{ toml: 'lease = 7' }, /lease in singlepoll\.toml line 1/],
  [lease(NOWHERE, { leaseTtl: '1s' }), /--lease-ttl makes a lease that can't work: .*\b1000 ms/],
  [lease(NOWHERE, { leaseTtl: '61m' }), /--lease-ttl .*hour/],
  [lease(NOWHERE, { leaseTtl: '0' }), /--lease-ttl is "0": it is zero/],
  [{ ...lease(NOWHERE), env: { SINGLEPOLL_LEASE_TTL: '900ms' } }, /SINGLEPOLL_LEASE_TTL .*\b900 ms/],
  [{ ...lease(NOWHERE), toml: 'leaseProfile = "quick"' }, /leaseProfile .*"quick".*fast, default or frugal/],
  [lease(NOWHERE, { gateway: false }), /--no-gateway and --lease exclude each other/],
  [
    { flags: { gateway: false }, env: { SINGLEPOLL_LEASE: NOWHERE } },
    /--no-gateway and SINGLEPOLL_LEASE in the environment exclude/,
  ],
  [
    lease('mysql://u:geheim@x', {
      leaseProfile: 'quick',
      leaseTtl: 'soon',
      backoff: 'never',
      gateway: false,
    }),
    /--lease is/,
    /--lease-profile is/,
    /--lease-ttl is/,
    /--backoff is/,
  ],
  [lease('env:SHARED', { leaseTtl: '1s', stopTimeout: 'long' }), /SHARED/, /--lease-ttl/, /--stop-timeout/],
];

for (const [given, ...patterns] of WRONG)
  test(`refused: ${JSON.stringify(given)}`, async () => {
    const loaded = await load(given);
    assert.ok(!loaded.ok);
    for (const pattern of patterns) assert.match(loaded.errors.join('\n'), pattern);
    assert.doesNotMatch(loaded.errors.join('\n'), /geheim|nis@/);
  });

test('each place of it, the strongest first; no password stands in an argument', async () => {
  const shared = lease('env:SHARED');
  const places: Case[] = [
    { env: { SINGLEPOLL_LEASE: 'redis://:geheim@x' } },
    { toml: 'lease = "redis://:geheim@x"' },
    { env: { SHARED: 'redis://:geheim@x' }, toml: 'lease = "env:SHARED"' },
    { envFile: 'SINGLEPOLL_LEASE=redis://:geheim@x' },
    { ...shared, envFile: 'SHARED="redis://:geheim@x"' },
    {
      ...shared,
      env: { SHARED: ' redis://:geheim@x\n', SINGLEPOLL_LEASE: NOWHERE },
      envFile: `SHARED=${NOWHERE}`,
    },
  ];
  for (const place of places) {
    const loaded = await load(place);
    assert.ok(loaded.ok, JSON.stringify(place));
    assert.equal(loaded.config.lease?.url, 'redis://:geheim@x');
    assert.deepEqual(loaded.warnings, []);
    assert.doesNotMatch(JSON.stringify(loaded.config.settings), /geheim/);
  }
  const typed = await load(lease('redis://:geheim@x'));
  assert.match(typed.warnings.join(), /the password or secret in --lease shows in process lists/);
});

test('times by profile and ttl; without a lease they have no effect, in deploy mode there is none', async () => {
  const timing = async (more: RawFlags) => {
    const loaded = await load(lease(NOWHERE, more));
    return loaded.ok && loaded.config.lease?.timing.ttlMs;
  };
  assert.equal(await timing({}), 15_000);
  assert.equal(await timing({ leaseProfile: 'fast' }), 6_000);
  assert.equal(await timing({ leaseProfile: 'frugal' }), 60_000);
  assert.equal(await timing({ leaseTtl: '7s' }), 7_000);
  const alone = await load({ flags: { leaseProfile: 'fast' } });
  assert.match(alone.warnings.join(), /--lease-profile has no effect without --lease/);
  const deploy = await load({ ...lease(NOWHERE), env: { POLLING_ENABLED: '0' } });
  assert.equal(deploy.ok && deploy.config.lease, null);
});

test('status works beside a lease that is wrong, unless it was typed', async () => {
  const beside = await load({ toml: 'lease = "env:NOPE"' }, 'status');
  assert.match(beside.ok ? beside.warnings.join() : '', /NOPE is not set/);
  assert.equal((await load(lease('env:NOPE'), 'status')).ok, false);
});

test('secret flags: a lease with a password, the URL of an alert; not a variable’s name, nor a URL without', () => {
  const lease = 'redis://:geheim@10.0.0.1';
  const alertUrl = 'https://hooks.slack.com/services/T0/B0/XXXX';
  assert.deepEqual(secretFlags({ lease, alertUrl, detach: true }), [
    { name: 'lease', value: lease },
    { name: 'alertUrl', value: alertUrl },
  ]);
  assert.deepEqual(secretFlags({ lease: 'redis://10.0.0.1', alertUrl: 'env:HOOK' }), []);
});
