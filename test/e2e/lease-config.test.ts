// --lease reaches its engine with the times that were asked for; where it has no place, nobody asks the engine. What may be wrong
// with the option itself: test/unit/config-lease.test.ts.
import assert from 'node:assert/strict';
import { node } from '../support/bed.ts';
import { starts } from '../support/judge.ts';
import { it } from '../support/kinds.ts';
import { leaseCases, leaseOf, stateIs } from '../support/lease-bed.ts';

const POLITE = node('polite.mjs');
/** Nobody listens there: what would connect could not go on. */
const NOWHERE = 'redis://127.0.0.1:1';

const shared = leaseCases('redis');

it('lease: what only its engine’s client can tell is 78 as well, before a worker is started', async (b) => {
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

const PLACES: readonly [string, (url: string) => Record<string, string>, string, number][] = [
  [
    'by a variable that TOML names',
    (url) => ({ SHARED_URL: ` ${url}\n` }),
    'lease = "env:SHARED_URL"\nleaseProfile = "fast"\n',
    6_000,
  ],
  [
    'by its twins',
    (url) => ({ SINGLEPOLL_LEASE: url.replace('redis:', 'VALKEY:'), SINGLEPOLL_LEASE_TTL: '7s' }),
    '',
    7_000,
  ],
];
for (const [place, env, toml, ttl] of PLACES)
  shared(`lease: ${place}; the record promises the ttl`, async (b) => {
    await b.vacate();
    b.file('singlepoll.toml', toml);
    const run = await b.polling(['--', ...node('prints-env.mjs')], { env: { ...b.env, ...env(b.url) } });
    const view = leaseOf(await b.status());
    assert.deepEqual([view.engine, view.mine], ['redis', true], run.seen());
    const record = await b.record();
    assert.equal(record?.ttl, ttl);
    await run.waitFor('ENV ');
    assert.match(run.stdout(), new RegExp(`"SINGLEPOLL_EPOCH":"${record?.epoch}"`));
    await run.stop();
  });

shared('lease: deploy mode ignores it, also an engine that does not answer', async (b) => {
  const run = b.cli(['start', '--lease', NOWHERE, '--', ...POLITE], {
    env: { ...b.env, POLLING_ENABLED: '0' },
  });
  const status = await stateIs(b, 'disabled', run);
  assert.deepEqual([status.healthy, status.lease], [true, null]);
  assert.equal(await b.text(), null, 'no record was written');
  assert.equal((await b.run(['status'])).code, 0);
});

shared('lease: --dry-run writes no record, also with --takeover, and says who holds it', async (b) => {
  assert.equal((await b.run(['start', '--dry-run', ...b.fast, '--', ...POLITE])).code, 0);
  assert.equal(await b.text(), null);
  const other = await b.another();
  const before = await b.text();
  const again = await b.run(['start', '--dry-run', '--takeover', ...b.fast, '--', ...POLITE]);
  assert.equal(await b.text(), before);
  assert.match(`${again.stdout}${again.stderr}`, new RegExp(`lease|${other.name}`, 'i'));
  assert.equal(starts(b.journal()).length, 0);
});
