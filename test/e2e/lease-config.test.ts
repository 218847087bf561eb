// --lease reaches its engine with the times that were asked for; where it has no place, nobody asks the engine. What may be wrong
// with the option itself: test/unit/config-lease.test.ts.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { type Engine, openEngine } from '../support/engines.ts';
import { starts } from '../support/judge.ts';
import { leaseBed, leaseOf, stateIs } from '../support/lease-bed.ts';

const POLITE = node('polite.mjs');
/** Nobody listens there: what would connect could not go on. */
const NOWHERE = 'redis://127.0.0.1:1';

let engine: Engine;
before(async () => {
  engine = await openEngine('redis');
});
after(() => engine?.close());

test('lease: what only its engine’s client can tell is 78 as well, before a worker is started', async (t) => {
  const b = await bed(t);
  for (const [url, pattern] of [
    ['etcds://127.0.0.1?ca-file=/nowhere/ca.pem', /\/nowhere\/ca\.pem/],
    ['k8s:', /pod|cluster|server/i],
  ] as const) {
    const result = await b.run(['start', '--lease', url, '--', ...POLITE]);
    assert.equal(result.code, 78, result.stderr);
    assert.match(result.stderr, pattern);
    assert.doesNotMatch(result.stderr, /\n\s+at .*\.[cm]?js:/, 'no stack');
  }
  assert.equal(starts(b.journal()).length, 0);
});

test('lease: by a variable that TOML names, and by its twins; the record promises the ttl', async (t) => {
  const places: [(url: string) => Record<string, string>, string, number][] = [
    [(url) => ({ SHARED_URL: ` ${url}\n` }), 'lease = "env:SHARED_URL"\nleaseProfile = "fast"\n', 6_000],
    [
      (url) => ({ SINGLEPOLL_LEASE: url.replace('redis:', 'VALKEY:'), SINGLEPOLL_LEASE_TTL: '7s' }),
      '',
      7_000,
    ],
  ];
  for (const [env, toml, ttl] of places) {
    const b = await leaseBed(t, engine);
    await b.vacate();
    b.file('singlepoll.toml', toml);
    const run = await b.polling(['--', ...node('prints-env.mjs')], { env: { ...b.env, ...env(b.url) } });
    const view = leaseOf(await b.status());
    assert.deepEqual([view.engine, view.mine], ['redis', true], run.seen());
    const record = await b.record();
    assert.equal(record?.ttl, ttl);
    await run.waitFor('ENV ');
    assert.match(run.stdout(), new RegExp(`"SINGLEPOLL_EPOCH":"${record?.epoch}"`));
    run.signal('SIGTERM');
    assert.equal((await run.exit()).code, 0, run.seen());
  }
});

test('lease: deploy mode ignores it, also an engine that does not answer', async (t) => {
  const b = await leaseBed(t, engine);
  const run = b.cli(['start', '--lease', NOWHERE, '--', ...POLITE], {
    env: { ...b.env, POLLING_ENABLED: '0' },
  });
  const status = await stateIs(b, 'disabled', run);
  assert.deepEqual([status.healthy, status.lease], [true, null]);
  assert.equal(await b.text(), null, 'no record was written');
  assert.equal((await b.run(['status'])).code, 0);
});

test('lease: --dry-run writes no record, also with --takeover, and says who holds it', async (t) => {
  const b = await leaseBed(t, engine);
  assert.equal((await b.run(['start', '--dry-run', ...b.fast, '--', ...POLITE])).code, 0);
  assert.equal(await b.text(), null);
  const other = await b.another();
  const before = await b.text();
  const again = await b.run(['start', '--dry-run', '--takeover', ...b.fast, '--', ...POLITE]);
  assert.equal(await b.text(), before);
  assert.match(`${again.stdout}${again.stderr}`, new RegExp(`lease|${other.name}`, 'i'));
  assert.equal(starts(b.journal()).length, 0);
});
