// A certificate for 127.0.0.1 and localhost, signed by itself: its own authority.
import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export function makeCertificate(dir: string) {
  const keyFile = join(dir, 'test.key');
  const certFile = join(dir, 'test.crt');
  const kind =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost';
  const more =
    '-addext subjectAltName=IP:127.0.0.1,DNS:localhost -addext keyUsage=critical,keyCertSign,digitalSignature';
  const words = [...kind.split(' '), ...more.split(' '), '-keyout', keyFile, '-out', certFile];
  execFileSync('openssl', words, { stdio: 'pipe' });
  chmodSync(keyFile, 0o600);
  return { keyFile, certFile, key: readFileSync(keyFile, 'utf8'), cert: readFileSync(certFile, 'utf8') };
}

/** A certificate for `host`, signed with the key of another one's; all in PEM. */
export function signCertificate(dir: string, host: string, issuer: { cert: string; key: string }) {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' });
  const read = (name: string) => readFileSync(join(dir, name), 'utf8');
  writeFileSync(join(dir, 'issuer.crt'), issuer.cert);
  writeFileSync(join(dir, 'issuer.key'), issuer.key);
  writeFileSync(
    join(dir, 'ext'),
    `subjectAltName=DNS:${host}\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n`,
  );
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-new', ...curve, '-keyout', 'x.key', '-subj', `/CN=${host}`, '-out', 'x.csr');
  const by = '-CA issuer.crt -CAkey issuer.key -CAcreateserial -days 2 -extfile ext'.split(' ');
  openssl('x509', '-req', '-in', 'x.csr', ...by, '-out', 'x.crt');
  return { cert: read('x.crt'), key: read('x.key') };
}
