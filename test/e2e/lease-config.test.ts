// --lease and its times: every place they may stand in, what may be wrong with them, said at once and with a cure. What is wrong
// with a URL itself is in test/unit/lease-url.test.ts, with the times in test/unit/lease-timing.test.ts.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { type Engine, openEngine } from '../support/engines.ts';
import { assertNoToken, starts } from '../support/judge.ts';
import { FAST, leaseBed, leaseOf, stateIs } from '../support/lease-bed.ts';
import { until } from '../support/wait.ts';

const POLITE = node('polite.mjs');
/** Nobody listens there: what would connect could not go on. */
const NOWHERE = 'redis://127.0.0.1:1';

interface Wrong {
  readonly args?: string;
  readonly env?: Record<string, string>;
  readonly file?: readonly [name: string, text: string];
  /** The message must say each of them; never `geheim`. */
  readonly says: readonly RegExp[];
}

const SHARED = '--lease env:SHARED';
const WRONG: Readonly<Record<string, Wrong>> = {
  'an unknown scheme': {
    args: '--lease mysql://u:geheim@127.0.0.1/db',
    says: [/--lease/, /mysql/, /redis:\/\//, /postgres:\/\//, /etcd:\/\//, /k8s:/, /env:NAME/],
  },
  'a raw / in the password': { args: '--lease redis://u:geheim/nis@127.0.0.1', says: [/--lease/, /%2F/] },
  'a database that is no number': { args: '--lease redis://127.0.0.1:1/bots', says: [/bots is no database/] },
  'a CA file that is not there': {
    args: '--lease etcds://127.0.0.1?ca-file=/nowhere/ca.pem',
    says: [/\/nowhere\/ca\.pem/],
  },
  'Kubernetes outside of a pod': { args: '--lease k8s:', says: [/no pod of Kubernetes/] },
  'env: and no name': { args: '--lease env:1X', says: [/--lease/, /variable|env:NAME/] },
  'env: of an unset variable': { args: SHARED, says: [/--lease/, /SHARED/, /not set/] },
  'env: of an empty variable': { args: SHARED, env: { SHARED: '' }, says: [/SHARED/, /not set/] },
  'env: of a malformed URL': { args: SHARED, env: { SHARED: 'redis//:geheim@x' }, says: [/SHARED/] },
  'env: of another env:': { args: SHARED, env: { SHARED: 'env:OTHER', OTHER: NOWHERE }, says: [/SHARED/] },
  'env: of a malformed one in the env file': {
    args: SHARED,
    file: ['.env', 'SHARED=foo://u:geheim@x\n'],
    says: [/SHARED/],
  },
  'the twin of an unset variable': {
    env: { SINGLEPOLL_LEASE: 'env:SHARED' },
    says: [/SINGLEPOLL_LEASE/, /SHARED/],
  },
  'a malformed twin': { env: { SINGLEPOLL_LEASE: 'mysql://u:geheim@x' }, says: [/SINGLEPOLL_LEASE/] },
  'a malformed one in TOML': {
    file: ['singlepoll.toml', 'lease = "mysql://u:geheim@x"\n'],
    says: [/singlepoll\.toml/, /lease/],
  },
  'one in TOML that is no text': {
    file: ['singlepoll.toml', 'lease = 7\n'],
    says: [/singlepoll\.toml/, /lease/],
  },
  'a ttl that leaves no room': {
    args: `--lease ${NOWHERE} --lease-ttl 1s`,
    says: [/--lease-ttl/, /\b1000 ms/, /\d+ ms.*\d+ ms.*\d+ ms/s],
  },
  'a ttl of the twin that leaves no room': {
    args: `--lease ${NOWHERE}`,
    env: { SINGLEPOLL_LEASE_TTL: '900ms' },
    says: [/SINGLEPOLL_LEASE_TTL/, /\b900 ms/],
  },
  'a ttl in TOML that leaves no room': {
    args: `--lease ${NOWHERE}`,
    file: ['singlepoll.toml', 'leaseTtl = "800ms"\n'],
    says: [/leaseTtl/, /\b800 ms/],
  },
  'a ttl of more than an hour': { args: `--lease ${NOWHERE} --lease-ttl 61m`, says: [/--lease-ttl/, /hour/] },
  'an unknown profile': {
    args: `--lease ${NOWHERE} --lease-profile quick`,
    says: [/--lease-profile/, /quick/, /fast/, /default/, /frugal/],
  },
  '--no-gateway': { args: `--lease ${NOWHERE} --no-gateway`, says: [/--no-gateway/, /--lease/] },
  '--no-gateway with the twin': {
    args: '--no-gateway',
    env: { SINGLEPOLL_LEASE: NOWHERE },
    says: [/--no-gateway/, /SINGLEPOLL_LEASE/],
  },
  'four errors at once': {
    args: '--lease mysql://u:geheim@x --lease-profile quick --lease-ttl soon --backoff never',
    says: [/--lease\b[^-]/, /--lease-profile/, /--lease-ttl/, /--backoff/],
  },
};

for (const [what, { args = '', env, file, says }] of Object.entries(WRONG))
  test(`lease refuses with 78: ${what}`, async (t) => {
    const b = await bed(t);
    if (file) b.file(...file);
    const words = args.split(' ').filter(Boolean);
    const { code, stdout, stderr } = await b.run(['start', ...words, '--', ...POLITE], {
      env: { ...b.env, ...env },
    });
    assert.equal(code, 78, stderr);
    for (const pattern of says) assert.match(stderr, pattern);
    assert.doesNotMatch(stdout + stderr, /geheim|\n\s+at .*\.js:/, 'neither a password nor a stack');
    assertNoToken(stdout + stderr, b.token);
    assert.equal(starts(b.journal()).length, 0, 'no worker was started');
  });

describe('lease, where it stands', () => {
  let engine: Engine;
  before(async () => {
    engine = await openEngine('redis');
  });
  after(() => engine?.close());

  interface Place {
    readonly args?: readonly string[];
    env?(url: string): Record<string, string>;
    file?(url: string): readonly [name: string, text: string];
  }
  const inVariable = ['--lease', 'env:SHARED_URL', ...FAST];
  const places: Readonly<Record<string, Place>> = {
    'with all its twins': {
      env: (url) => ({ SINGLEPOLL_LEASE: url, SINGLEPOLL_LEASE_PROFILE: 'fast', SINGLEPOLL_LEASE_TTL: '5s' }),
    },
    'in singlepoll.toml as env:NAME': {
      env: (url) => ({ SHARED_URL: ` ${url}\n` }),
      file: () => ['singlepoll.toml', 'lease = "env:SHARED_URL"\nleaseProfile = "fast"\nleaseTtl = "5s"\n'],
    },
    'in the env file as the twin': { args: FAST, file: (url) => ['.env', `SINGLEPOLL_LEASE=${url}\n`] },
    'in a variable of the env file': { args: inVariable, file: (url) => ['.env', `SHARED_URL="${url}"\n`] },
    'in a variable, over that of the env file and over the twin': {
      args: inVariable,
      env: (url) => ({ SHARED_URL: url.replace('redis:', 'VALKEY:'), SINGLEPOLL_LEASE: NOWHERE }),
      file: () => ['.env', `SHARED_URL=${NOWHERE}\n`],
    },
  };
  for (const [what, { args = [], env, file }] of Object.entries(places))
    test(`lease ${what}`, async (t) => {
      const b = await leaseBed(t, engine);
      await b.vacate();
      if (file) b.file(...file(b.url));
      const run = await b.polling([...args, '--', ...POLITE], { env: { ...b.env, ...env?.(b.url) } });
      const view = leaseOf(await b.status());
      assert.deepEqual([view.engine, view.mine], ['redis', true], run.seen());
    });

  test('lease: the ttl of profile and options is promised in the record', async (t) => {
    for (const [options, ttl] of [
      [['--lease-profile', 'fast', '--lease-ttl', '7s'], 7_000],
      [[], 15_000],
      [['--lease-profile', 'frugal'], 60_000],
    ] as const) {
      const b = await leaseBed(t, engine);
      await b.vacate();
      await b.polling(['--lease', b.url, ...options, '--', ...POLITE]);
      assert.equal((await b.record())?.ttl, ttl);
    }
  });

  test('lease: without one nobody asks the engine, status has none, the worker no epoch', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.polling(['--lease-profile', 'fast', '--', ...node('prints-env.mjs')], {
      env: { ...b.env, REDIS_URL: b.url, DATABASE_URL: b.url },
    });
    assert.equal((await b.status()).lease, null, 'no engine is picked by guess');
    assert.equal(await b.text(), null);
    assert.match(run.stderr(), /--lease-profile.*no effect/);
    await run.waitFor('ENV ');
    assert.doesNotMatch(run.stdout(), /SINGLEPOLL_EPOCH/);
  });

  test('lease: deploy mode ignores it, whether its engine answers or not', async (t) => {
    for (const url of [engine.url(), NOWHERE]) {
      const b = await leaseBed(t, engine);
      const run = b.cli(['start', '--lease', url, '--', ...POLITE], {
        env: { ...b.env, POLLING_ENABLED: '0' },
      });
      await run.waitFor('polling off');
      const status = await stateIs(b, 'disabled', run);
      assert.deepEqual([status.healthy, status.lease, await b.text()], [true, null, null]);
      run.signal('SIGTERM');
      assert.equal((await run.exit()).code, 0, run.seen());
    }
  });

  test('lease: --dry-run says who holds it and writes nothing, also with --takeover', async (t) => {
    const b = await leaseBed(t, engine);
    const dryRun = (...args: string[]) => b.run(['start', '--dry-run', ...args, ...b.fast, '--', ...POLITE]);
    assert.equal((await dryRun()).code, 0);
    assert.equal(await b.text(), null);
    const other = await b.another();
    const before = await b.text();
    const { stdout, stderr } = await dryRun('--takeover');
    assert.ok((stdout + stderr).includes(other.name), stderr);
    assert.deepEqual([await b.text(), starts(b.journal()).length], [before, 0]);
  });

  test('lease: the worker learns its epoch, and no variable of the lease that it had not', async (t) => {
    const b = await leaseBed(t, engine);
    await b.vacate();
    const run = await b.polling([...b.fast, '--', ...node('prints-env.mjs')]);
    const line = await until('its environment', () => /^ENV (.*)$/m.exec(run.stdout())?.[1]);
    const { env } = JSON.parse(line) as { env: Record<string, string> };
    assert.equal(env.SINGLEPOLL_EPOCH, String((await b.record())?.epoch));
    for (const [name, value] of Object.entries(env))
      assert.ok(!value.includes(String(engine.port)), `${name}=${value} names the engine`);
  });
});
