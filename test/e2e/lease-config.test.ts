// --lease and its times: every place they may stand in, everything that may be wrong with them, said at once and with a cure.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Bed, bed, node } from '../support/bed.ts';
import { type Engine, openEngine } from '../support/engines.ts';
import { assertNoToken, starts } from '../support/judge.ts';
import { FAST, leaseBed, leaseOf, stateIs } from '../support/lease-bed.ts';
import { until } from '../support/wait.ts';

const POLITE = node('polite.mjs');
/** Nobody listens there: what would connect could not go on. */
const NOWHERE = 'redis://127.0.0.1:1';

interface Wrong {
  what: string;
  args?: string[];
  env?: Record<string, string>;
  files?: Record<string, string>;
  /** The message must say each of them. */
  says: RegExp[];
  /** And none of these. */
  hides?: string[];
}

const lease = (url: string) => ['--lease', url];

const WRONG_URLS: Wrong[] = [
  {
    what: 'an unknown scheme',
    args: lease('mysql://127.0.0.1/db'),
    says: [/--lease/, /mysql/, /redis:\/\//, /postgres:\/\//, /etcd:\/\//, /k8s:/, /env:NAME/],
  },
  { what: 'http', args: lease('http://127.0.0.1:2379'), says: [/--lease/, /http/] },
  { what: 'no scheme', args: lease('127.0.0.1:6379'), says: [/--lease/] },
  { what: 'nothing', args: lease(''), says: [/--lease/] },
  { what: 'a scheme alone', args: lease('redis'), says: [/--lease/] },
  { what: 'no host', args: lease('redis://'), says: [/--lease/, /host/] },
  { what: 'no host of PostgreSQL', args: lease('postgres:///db'), says: [/--lease/, /host/] },
  { what: 'no host of etcd', args: lease('etcd://'), says: [/--lease/, /host/] },
  { what: 'a port out of range', args: lease('redis://127.0.0.1:99999'), says: [/--lease/, /99999/] },
  { what: 'port 0', args: lease('redis://127.0.0.1:0'), says: [/--lease/] },
  { what: 'a port that is none', args: lease('etcd://127.0.0.1:http'), says: [/--lease/] },
  { what: 'two hosts of Redis', args: lease('redis://a,b:6379'), says: [/--lease/] },
  {
    what: 'a database of Redis that is no number',
    args: lease('redis://127.0.0.1:1/bots'),
    says: [/bots/, /number|database/i],
  },
  {
    what: 'a raw / in the password',
    args: lease('redis://u:geheim/nis@127.0.0.1'),
    says: [/--lease/, /%2F/],
    hides: ['geheim', 'nis@'],
  },
  {
    what: 'a raw % in the password',
    args: lease('redis://u:100%geheim@127.0.0.1'),
    says: [/--lease/, /%25/],
    hides: ['geheim'],
  },
  {
    what: 'a password behind an unknown scheme',
    args: lease('mysql://u:geheim@127.0.0.1'),
    says: [/--lease/],
    hides: ['geheim'],
  },
  { what: 'an option that etcd has not', args: lease('etcd://127.0.0.1?retries=3'), says: [/retries/] },
  { what: 'an option that Kubernetes has not', args: lease('k8s://bots?namspace=x'), says: [/namspace/] },
  {
    what: 'an unknown kind of TLS',
    args: lease('rediss://127.0.0.1?tls=maybe'),
    says: [/maybe/, /insecure/],
  },
  {
    what: 'a CA file that is not there',
    args: lease('etcds://127.0.0.1?ca-file=/nowhere/ca.pem'),
    says: [/\/nowhere\/ca\.pem/],
  },
  {
    what: 'Kubernetes outside of a pod',
    args: lease('k8s:'),
    says: [/k8s|kubernetes/i, /pod|cluster|server/i],
  },
];

const WRONG_NAMES: Wrong[] = [
  { what: 'env: and nothing', args: lease('env:'), says: [/--lease/, /variable|env:NAME/] },
  { what: 'env: and no name', args: lease('env:1 X'), says: [/--lease/, /variable|env:NAME/] },
  { what: 'env: of an unset variable', args: lease('env:SHARED'), says: [/--lease/, /SHARED/, /not set/] },
  {
    what: 'env: of an empty variable',
    args: lease('env:SHARED'),
    env: { SHARED: '' },
    says: [/SHARED/, /not set|empty/],
  },
  { what: 'env: of blanks', args: lease('env:SHARED'), env: { SHARED: '  ' }, says: [/SHARED/] },
  {
    what: 'env: of a malformed URL',
    args: lease('env:SHARED'),
    env: { SHARED: 'redis//:geheim@x' },
    says: [/SHARED/],
    hides: ['geheim'],
  },
  {
    what: 'env: of another env:',
    args: lease('env:SHARED'),
    env: { SHARED: 'env:OTHER', OTHER: NOWHERE },
    says: [/SHARED/],
  },
  {
    what: 'env: of a malformed one in the env file',
    args: lease('env:SHARED'),
    files: { '.env': 'SHARED=foo://u:geheim@x\n' },
    says: [/SHARED/],
    hides: ['geheim'],
  },
  {
    what: 'SINGLEPOLL_LEASE of an unset variable',
    env: { SINGLEPOLL_LEASE: 'env:SHARED' },
    says: [/SINGLEPOLL_LEASE/, /SHARED/],
  },
  {
    what: 'SINGLEPOLL_LEASE that is malformed',
    env: { SINGLEPOLL_LEASE: 'mysql://u:geheim@x' },
    says: [/SINGLEPOLL_LEASE/],
    hides: ['geheim'],
  },
  {
    what: 'a lease in TOML that is malformed',
    files: { 'singlepoll.toml': 'lease = "mysql://u:geheim@x"\n' },
    says: [/singlepoll\.toml/, /lease/],
    hides: ['geheim'],
  },
  {
    what: 'a lease in TOML that is no text',
    files: { 'singlepoll.toml': 'lease = 7\n' },
    says: [/singlepoll\.toml/, /lease/],
  },
];

const WRONG_TIMES: Wrong[] = [
  {
    what: 'a ttl that leaves no room',
    args: [...lease(NOWHERE), '--lease-ttl', '1s'],
    says: [/--lease-ttl/, /\b1000 ms/, /\d+ ms.*\d+ ms.*\d+ ms/s],
  },
  {
    what: 'a ttl of the fast profile that leaves no room',
    args: [...lease(NOWHERE), '--lease-profile', 'fast', '--lease-ttl', '1s'],
    says: [/--lease-ttl/, /\b1000 ms/],
  },
  {
    what: 'a ttl of one millisecond',
    args: [...lease(NOWHERE), '--lease-ttl', '1ms'],
    says: [/--lease-ttl/, /\d ms/],
  },
  { what: 'a ttl of nothing', args: [...lease(NOWHERE), '--lease-ttl', '0'], says: [/--lease-ttl/] },
  { what: 'a ttl below nothing', args: [...lease(NOWHERE), '--lease-ttl=-5s'], says: [/--lease-ttl/] },
  {
    what: 'a ttl that is no time',
    args: [...lease(NOWHERE), '--lease-ttl', 'soon'],
    says: [/--lease-ttl/, /soon/],
  },
  {
    what: 'a ttl of more than an hour',
    args: [...lease(NOWHERE), '--lease-ttl', '61m'],
    says: [/--lease-ttl/, /hour/],
  },
  {
    what: 'a ttl of its twin that leaves no room',
    args: lease(NOWHERE),
    env: { SINGLEPOLL_LEASE_TTL: '900ms' },
    says: [/SINGLEPOLL_LEASE_TTL/, /\b900 ms/],
  },
  {
    what: 'a ttl in TOML that leaves no room',
    args: lease(NOWHERE),
    files: { 'singlepoll.toml': 'leaseTtl = "800ms"\n' },
    says: [/leaseTtl/, /\b800 ms/],
  },
  {
    what: 'an unknown profile',
    args: [...lease(NOWHERE), '--lease-profile', 'quick'],
    says: [/--lease-profile/, /quick/, /fast/, /default/, /frugal/],
  },
  {
    what: 'an unknown profile in TOML',
    args: lease(NOWHERE),
    files: { 'singlepoll.toml': 'leaseProfile = "quick"\n' },
    says: [/leaseProfile/, /quick/],
  },
];

const WRONG_SETS: Wrong[] = [
  { what: '--no-gateway', args: [...lease(NOWHERE), '--no-gateway'], says: [/--no-gateway/, /--lease/] },
  {
    what: '--no-gateway in its twin',
    args: lease(NOWHERE),
    env: { SINGLEPOLL_NO_GATEWAY: '1' },
    says: [/SINGLEPOLL_NO_GATEWAY/, /--lease/],
  },
  {
    what: '--no-gateway with the twin of --lease',
    args: ['--no-gateway'],
    env: { SINGLEPOLL_LEASE: NOWHERE },
    says: [/--no-gateway/, /SINGLEPOLL_LEASE/],
  },
  {
    what: 'five errors at once',
    args: [
      ...lease('mysql://u:geheim@x'),
      '--lease-profile',
      'quick',
      '--lease-ttl',
      'soon',
      '--backoff',
      'never',
      '--no-gateway',
    ],
    says: [/--lease\b[^-]/, /--lease-profile/, /--lease-ttl/, /--backoff/],
    hides: ['geheim'],
  },
  {
    what: 'an unset variable and an impossible ttl at once',
    args: [...lease('env:SHARED'), '--lease-ttl', '1s', '--stop-timeout', 'long'],
    says: [/SHARED/, /--lease-ttl/, /--stop-timeout/],
  },
];

async function refused(b: Bed, wrong: Wrong): Promise<void> {
  for (const [name, text] of Object.entries(wrong.files ?? {})) b.file(name, text);
  const result = await b.run(['start', ...(wrong.args ?? []), '--', ...POLITE], {
    env: { ...b.env, ...wrong.env },
    ms: 10_000,
  });
  assert.equal(result.code, 78, `${wrong.what}: ${result.code}\n${result.stderr}`);
  for (const pattern of wrong.says) assert.match(result.stderr, pattern, wrong.what);
  for (const secret of wrong.hides ?? []) {
    assert.ok(
      !`${result.stdout}${result.stderr}`.includes(secret),
      `${wrong.what} shows ${secret}:\n${result.stderr}`,
    );
  }
  assert.doesNotMatch(result.stderr, /\n\s+at .*\.[cm]?js:/, 'no stack');
  assertNoToken(result.stdout + result.stderr, b.token);
  assert.equal(starts(b.journal()).length, 0, 'no worker was started');
}

describe('lease, what is refused', () => {
  for (const [what, list] of Object.entries({
    URL: WRONG_URLS,
    variable: WRONG_NAMES,
    time: WRONG_TIMES,
    set: WRONG_SETS,
  }))
    for (const wrong of list)
      test(`lease refuses a wrong ${what} with 78: ${wrong.what}`, async (t) =>
        await refused(await bed(t), wrong));
});

describe('lease, where it stands', () => {
  let engine: Engine;
  before(async () => {
    engine = await openEngine('redis');
  });
  after(() => engine?.close());

  interface Place {
    what: string;
    args?: string[];
    env?(url: string): Record<string, string>;
    files?(url: string): Record<string, string>;
  }
  const fastToml = 'leaseProfile = "fast"\n';
  const places: Place[] = [
    { what: 'in SINGLEPOLL_LEASE', args: FAST, env: (url) => ({ SINGLEPOLL_LEASE: url }) },
    {
      what: 'with all its twins',
      env: (url) => ({ SINGLEPOLL_LEASE: url, SINGLEPOLL_LEASE_PROFILE: 'fast', SINGLEPOLL_LEASE_TTL: '5s' }),
    },
    {
      what: 'in singlepoll.toml',
      files: (url) => ({ 'singlepoll.toml': `lease = "${url}"\n${fastToml}leaseTtl = "5s"\n` }),
    },
    {
      what: 'in singlepoll.toml as env:NAME',
      env: (url) => ({ SHARED_URL: url }),
      files: () => ({ 'singlepoll.toml': `lease = "env:SHARED_URL"\n${fastToml}` }),
    },
    {
      what: 'in the env file as the twin',
      args: FAST,
      files: (url) => ({ '.env': `SINGLEPOLL_LEASE=${url}\n` }),
    },
    {
      what: 'in a variable of the environment',
      args: ['--lease', 'env:SHARED_URL', ...FAST],
      env: (url) => ({ SHARED_URL: url }),
    },
    {
      what: 'in a variable of the env file',
      args: ['--lease', 'env:SHARED_URL', ...FAST],
      files: (url) => ({ '.env': `SHARED_URL="${url}"\n` }),
    },
    {
      what: 'in a variable with blanks around it',
      args: ['--lease', 'env:SHARED_URL', ...FAST],
      env: (url) => ({ SHARED_URL: ` ${url}\n` }),
    },
    {
      what: 'in both: the environment wins over the env file',
      args: ['--lease', 'env:SHARED_URL', ...FAST],
      env: (url) => ({ SHARED_URL: url }),
      files: () => ({ '.env': `SHARED_URL=${NOWHERE}\n` }),
    },
    {
      what: 'as a flag over its twin',
      args: ['--lease', 'env:SHARED_URL', ...FAST],
      env: (url) => ({ SHARED_URL: url, SINGLEPOLL_LEASE: NOWHERE }),
    },
    {
      what: 'with a scheme in capitals',
      args: ['--lease', 'env:SHARED_URL', ...FAST],
      env: (url) => ({ SHARED_URL: url.replace('redis:', 'REDIS:') }),
    },
    {
      what: 'as valkey:',
      args: ['--lease', 'env:SHARED_URL', ...FAST],
      env: (url) => ({ SHARED_URL: url.replace('redis:', 'valkey:') }),
    },
  ];
  for (const place of places)
    test(`lease ${place.what}`, async (t) => {
      const b = await leaseBed(t, engine);
      await b.vacate();
      for (const [name, text] of Object.entries(place.files?.(b.url) ?? {})) b.file(name, text);
      const run = await b.polling([...(place.args ?? []), '--', ...POLITE], {
        env: { ...b.env, ...place.env?.(b.url) },
      });
      const view = leaseOf(await b.status());
      assert.deepEqual([view.engine, view.mine], ['redis', true], run.seen());
      assert.doesNotMatch(run.stderr(), /process lists/, 'no password stands in its arguments');
    });

  test('lease: the ttl of the options is promised in the record', async (t) => {
    const b = await leaseBed(t, engine);
    await b.vacate();
    await b.polling(['--lease', b.url, '--lease-profile', 'fast', '--lease-ttl', '7s', '--', ...POLITE]);
    assert.equal((await b.record())?.ttl, 7_000);
  });

  test('lease: each profile promises its own ttl', async (t) => {
    for (const [profile, ttl] of [
      ['fast', 6_000],
      ['default', 15_000],
      ['frugal', 60_000],
    ] as const) {
      const b = await leaseBed(t, engine);
      await b.vacate();
      const run = await b.polling(['--lease', b.url, '--lease-profile', profile, '--', ...POLITE]);
      assert.equal((await b.record())?.ttl, ttl);
      run.signal('SIGTERM');
      assert.equal((await run.exit()).code, 0, run.seen());
    }
  });

  test('lease: without a lease nobody asks the engine, and status has none', async (t) => {
    const b = await leaseBed(t, engine);
    await b.polling(['--', ...POLITE], { env: { ...b.env, REDIS_URL: b.url, DATABASE_URL: b.url } });
    assert.equal((await b.status()).lease, null, 'no engine is picked by guess');
    assert.equal(await b.text(), null);
  });

  test('lease: times without a lease are told to have no effect', async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--lease-profile', 'fast', '--', ...POLITE]);
    assert.match(run.stderr(), /--lease-profile.*(no effect|without --lease)/);
  });

  test('lease: deploy mode ignores it', async (t) => {
    const b = await leaseBed(t, engine);
    const run = b.cli(['start', ...b.fast, '--', ...POLITE], { env: { ...b.env, POLLING_ENABLED: '0' } });
    await run.waitFor('polling off');
    const status = await stateIs(b, 'disabled', run);
    assert.deepEqual([status.healthy, status.lease], [true, null]);
    assert.equal(await b.text(), null, 'no record was written');
    assert.equal((await b.run(['status'])).code, 0);
    run.signal('SIGTERM');
    assert.equal((await run.exit()).code, 0, run.seen());
  });

  test('lease: deploy mode ignores an engine that does not answer', async (t) => {
    const b = await bed(t);
    const run = b.cli(['start', '--lease', NOWHERE, '--', ...POLITE], {
      env: { ...b.env, POLLING_ENABLED: 'false' },
    });
    await run.waitFor('polling off');
    await stateIs(b, 'disabled', run);
  });

  test('lease: --dry-run neither asks for it nor writes a record', async (t) => {
    const b = await leaseBed(t, engine);
    const result = await b.run(['start', '--dry-run', ...b.fast, '--', ...POLITE]);
    assert.equal(result.code, 0, result.stderr);
    assert.equal(await b.text(), null);
    const other = await b.another();
    const before = await b.text();
    const again = await b.run(['start', '--dry-run', '--takeover', ...b.fast, '--', ...POLITE]);
    assert.equal(await b.text(), before, 'also with --takeover');
    assert.match(
      `${again.stdout}${again.stderr}`,
      new RegExp(`lease|${other.name}`, 'i'),
      'but says that there is one',
    );
    assert.equal(starts(b.journal()).length, 0);
  });

  test('lease: the worker learns its epoch, and no variable of the lease that it had not', async (t) => {
    const b = await leaseBed(t, engine);
    await b.vacate();
    const run = await b.polling([...b.fast, '--', ...node('prints-env.mjs')]);
    const env = await until('its environment', () => {
      const line = run
        .stdout()
        .split('\n')
        .find((text) => text.startsWith('ENV '));
      return line ? (JSON.parse(line.slice(4)) as { env: Record<string, string> }).env : null;
    });
    assert.equal(env.SINGLEPOLL_EPOCH, String((await b.record())?.epoch));
    for (const [name, value] of Object.entries(env))
      assert.ok(!value.includes(String(engine.port)), `${name}=${value} names the engine`);
  });

  test('lease: without one there is no SINGLEPOLL_EPOCH', async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--', ...node('prints-env.mjs')]);
    await run.waitFor('ENV ');
    assert.doesNotMatch(run.stdout(), /SINGLEPOLL_EPOCH/);
  });
});
