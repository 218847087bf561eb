import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { maskLeaseUrl } from '../../src/config/targets.ts';
import { LeaseConfigError } from '../../src/lease/store.ts';
import { leaseMistakes, parseLeaseUrl } from '../../src/lease/url.ts';

describe('the lease URL', () => {
  it('names engine, place, user and options', () => {
    const url = parseLeaseUrl(' rediss://us%40er:p%2Fa%3Ass@h.example:6380/2?tls=insecure ');
    const { kind, tls, hosts, user, password, path } = url;
    assert.deepEqual([kind, tls, hosts], ['redis', true, [{ host: 'h.example', port: 6380 }]]);
    assert.deepEqual([user, password, path], ['us@er', 'p/a:ss', '2']);
    assert.equal(url.options.get('tls'), 'insecure');
  });

  it("takes PostgreSQL's user and password from behind the question mark too, and hides them alike", () => {
    const url = parseLeaseUrl('postgres://h/db?user=b%6Fb&password=p+%26w&sslmode=require');
    assert.deepEqual([url.user, url.password], ['bob', 'p+&w']);
    assert.equal(url.hide('no p+&w for you'), 'no … for you');
    assert.equal(parseLeaseUrl('postgres://eve:x@h/db?user=bob&password=y').user, 'eve');
    assert.equal(parseLeaseUrl('redis://h?password=y').password, undefined);
  });

  for (const [text, kind, hosts, path] of [
    ['redis://h', 'redis', ['h:6379'], ''],
    ['valkey://:pw@h', 'redis', ['h:6379'], ''],
    ['valkeys://h:1', 'redis', ['h:1'], ''],
    ['REDIS://[::1]:7', 'redis', ['::1:7'], ''],
    ['postgres://u:p@h/db', 'postgres', ['h:5432'], 'db'],
    ['postgresql://u:p@h/my%20db?sslmode=require&channel_binding=require', 'postgres', ['h:5432'], 'my db'],
    ['etcd://a,b:3,c/x/y/', 'etcd', ['a:2379', 'b:3', 'c:2379'], 'x/y'],
    ['etcds://a?ca-file=/ca', 'etcd', ['a:2379'], ''],
    ['k8s:', 'kubernetes', [], ''],
    ['k8s://bots/lease', 'kubernetes', ['bots:443'], 'lease'],
  ] as const)
    it(`reads ${text}`, () => {
      const url = parseLeaseUrl(text);
      assert.equal(url.kind, kind);
      const seen = url.hosts.map(({ host, port }) => `${host}:${port}`);
      assert.deepEqual([seen, url.path], [hosts, path]);
    });

  for (const [text, words] of [
    ['', /no engine is named/],
    ['localhost:6379', /no engine is called by localhost:/],
    ['mysql://u:hunter2hunter@h/db', /no engine is called by mysql:/],
    ['redis://', /names no host/],
    ['redis:', /names no host/],
    ['redis://u:hunter2/hunter@h', /write \/ as %2F/],
    ['redis://u:hunter2#hunter@h', /# as %23/],
    ['redis://u:hunter2/hunter@hunter@h', /@ as %40/],
    ['redis://u:hunter2%hunter@h', /write it as %25/],
    ['redis://u:hunter2hunter@h:99999', /no host with a port/],
    ['redis://u:hunter2hunter@h:0', /no host with a port/],
    ['redis://u:hunter2hunter@h/leases', /a database number, as in redis:\/\/host\/0/],
    ['redis://u:hunter2hunter@h1,h2', /more than one host/],
    ['etcd://u:hunter2hunter@h?cafile=x', /option cafile, which etcd has not/],
    ['k8s://ns?token=hunter2hunter', /option token, which kubernetes has not/],
    ['rediss://u:hunter2hunter@h?tls=off', /off is not known there; known is insecure/],
    ['postgres://u:hunter2hunter@h/db?sslmode=on', /on is not known there; known is disable, allow/],
  ] as const)
    it(`turns down ${JSON.stringify(text)} without showing the password`, () => {
      assert.throws(
        () => parseLeaseUrl(text),
        (error: Error) => {
          assert.ok(error instanceof LeaseConfigError);
          assert.match(error.message, words);
          assert.doesNotMatch(error.message, /hunter/);
          return true;
        },
      );
    });

  for (const [text, shown] of [
    ['redis://h:1/2', 'redis://h:1/2'],
    ['redis://user:pw@h', 'redis://user:…@h'],
    ['redis://:pw@h', 'redis://:…@h'],
    ['redis://onlyuser@h', 'redis://…@h'],
    ['redis://u:p@ss@h', 'redis://u:…@h'],
    [
      'postgres://u:p/?#@h/db?sslmode=require&password=x&sslrootcert=/a',
      'postgres://u:…@h/db?sslmode=require&password=…&sslrootcert=/a',
    ],
    ['k8s://ns?token-file=/a', 'k8s://ns?token-file=/a'],
    ['k8s://bots?server=http://u:pw@h', 'k8s://…@h'],
    ['mysql://u:p@h', 'mysql:…'],
    ['just a secret', '…'],
  ] as const)
    it(`shows ${text} as ${shown}`, () => assert.equal(maskLeaseUrl(text), shown));

  it('names the place of each mistake', () => {
    const asked = {
      url: 'redis://u:hunter/x@h',
      from: 'SHARED (named by --lease)',
      profile: 'fast',
      ttlMs: 1_000,
      timesFrom: '--lease-ttl',
    } as const;
    const [url = '', times = '', ...more] = leaseMistakes(asked);
    assert.match(url, /^SHARED \(named by --lease\) is "redis:\/\/…@h": .*%2F.*\. Accepted: .*k8s:/);
    assert.match(times, /^--lease-ttl makes a lease that can't work: .*\b1000 ms.* Try --lease-profile fast/);
    assert.deepEqual(more, []);
    for (const none of [null, { ...asked, url: 'k8s:', ttlMs: null }])
      assert.deepEqual(leaseMistakes(none), []);
  });

  it('takes an @ in a password as it is', () => {
    assert.equal(parseLeaseUrl('redis://u:a@b@h').password, 'a@b');
  });

  it('masks the password in what others say, as it is and encoded', () => {
    const { hide } = parseLeaseUrl('postgres://u:p%2Fssw0rd@h/db');
    assert.equal(hide('failed for u with p/ssw0rd at p%2Fssw0rd'), 'failed for u with … at …');
  });
});
