// A certificate for 127.0.0.1 and localhost, signed by itself: its own authority.
import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Certificate {
  readonly keyFile: string;
  readonly certFile: string;
  readonly key: string;
  readonly cert: string;
}

export function makeCertificate(dir: string): Certificate {
  const keyFile = join(dir, 'test.key');
  const certFile = join(dir, 'test.crt');
  const names = 'subjectAltName=IP:127.0.0.1,DNS:localhost';
  const kind = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
  ];
  const files = ['-keyout', keyFile, '-out', certFile, '-subj', '/CN=localhost', '-addext', names];
  execFileSync('openssl', [...kind, ...files], { stdio: 'pipe' });
  chmodSync(keyFile, 0o600);
  return { keyFile, certFile, key: readFileSync(keyFile, 'utf8'), cert: readFileSync(certFile, 'utf8') };
}
