// The certificates of the gateway: each that is made can be read, and is good for api.telegram.org alone. Of what use a stolen key is:
// test/thorough/intercept-trust.test.ts.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BOT_API_HOST, makeCertificates, toPem } from '../../src/intercept/certificates.ts';
import { writeTrustFiles } from '../../src/intercept/trust.ts';
import { newFolder } from '../support/place.ts';

const folder = newFolder();

const openssl = (...args: string[]) =>
  execFileSync('openssl', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

test('three hundred of them parse, each with a serial number and keys of its own', () => {
  const seen = new Set<string>();
  for (let i = 0; i < 300; i++) {
    const { authority, cert } = makeCertificates(Date.UTC(2026, 0, i));
    const [root, leaf] = [new X509Certificate(toPem(authority)), new X509Certificate(cert)];
    assert.ok(root.ca && !leaf.ca);
    assert.ok(leaf.verify(root.publicKey));
    assert.equal(leaf.checkHost(BOT_API_HOST), BOT_API_HOST);
    assert.equal(leaf.checkHost('telegram.org'), undefined);
    seen.add(root.serialNumber).add(leaf.serialNumber).add(root.fingerprint256).add(leaf.fingerprint256);
  }
  assert.equal(seen.size, 1_200);
});

test('a chain that the strictest reader accepts, from a day ago for ten years, past 2050 too', () => {
  for (const now of [Date.now(), Date.UTC(2049, 5, 1)]) {
    const { authority, cert } = makeCertificates(now);
    writeFileSync(join(folder, 'root.pem'), toPem(authority));
    writeFileSync(join(folder, 'leaf.pem'), cert);
    for (const at of [now - 80_000_000, now + 3_600 * 86_400_000]) {
      const strict = ['-x509_strict', '-purpose', 'sslserver', '-attime', String(Math.floor(at / 1_000))];
      const out = openssl(
        'verify',
        ...strict,
        '-verify_hostname',
        BOT_API_HOST,
        '-CAfile',
        'root.pem',
        'leaf.pem',
      );
      assert.match(out, /OK/);
    }
  }
});

test('on disk are public certificates, which a worker of another user can read, and nothing in the end', () => {
  const { authority } = makeCertificates(Date.now());
  const trust = writeTrustFiles(authority, '/hooks/php.php');
  assert.ok(trust);
  const paths = readdirSync(trust.phpFolder).map((name) => join(trust.phpFolder, name));
  assert.deepEqual(
    [statSync(trust.phpFolder).mode & 0o777, ...paths.map((it) => statSync(it).mode & 0o777)],
    [0o755, ...paths.map(() => 0o644)],
  );
  for (const path of paths) assert.doesNotMatch(readFileSync(path, 'latin1'), /PRIVATE KEY/);
  assert.match(
    readFileSync(trust.bundle(), 'utf8'),
    new RegExp(`${toPem(authority).replace(/[+]/g, '[+]')}$`),
  );
  trust.remove();
  assert.ok(!existsSync(trust.phpFolder));
});
