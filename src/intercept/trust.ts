/**
 * Files for programs that read whom they trust from a file (PHP, Bun, Java, and everything behind a proxy variable): what they trusted
 * before, and the gateway's authority. Only public certificates, in a folder that everybody may read: a worker that changes its user
 * must be able to read them, else all its TLS fails.
 */
import { spawnSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pidNamespace, readText, statOf } from '../machine/procfs.ts';
import { toPem } from './certificates.ts';

export type TrustFiles = NonNullable<ReturnType<typeof writeTrustFiles>>;

const PREFIX = 'singlepoll-trust-';
/** Pid namespace, pid and start time of the supervisor. */
const NAME = /^singlepoll-trust-(\d+)-(\d+)-(\d+)-/;

type Environment = Readonly<NodeJS.ProcessEnv>;

/** Where Linux distributions and macOS keep what the system trusts (Go's crypto/x509 root_linux.go, root_bsd.go). */
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** Null where no folder can be written. `prepend`: what PHP runs first; `php`: the file that it trusts by itself, if any; `jvm`: whom Java does. */
export function writeTrustFiles(authority: Buffer, prepend: string, php = '', jvm: readonly Buffer[] = []) {
  try {
    removeAbandoned();
    const folder = fs.mkdtempSync(join(tmpdir(), `${PREFIX}${namespaceId()}-${startedAs(process.pid)}-`));
    const bundles = new Map<string, string>();
    const system =
      readFirst(SYSTEM_BUNDLES) ?? process.getBuiltinModule('node:tls').rootCertificates.join('\n');
    const keystore = join(folder, 'trust.jks');
    const write = (named: string, before: string): string => {
      const path = join(folder, `bundle${bundles.size || ''}.pem`);
      fs.writeFileSync(path, `${before.trimEnd()}\n${toPem(authority)}`, { mode: 0o644 });
      bundles.set(named, path);
      return path;
    };
    write('', system);
    const bundle = (named = '') => bundles.get(named) ?? write(named, readFirst([named]) ?? system);
    fs.writeFileSync(keystore, keystoreOf([...(jvm.length > 0 ? jvm : certificatesIn(system)), authority]), {
      mode: 0o644,
    });
    fs.writeFileSync(
      join(folder, 'singlepoll-hook.ini'),
      `auto_prepend_file="${prepend}"\nopenssl.cafile="${bundle(php)}"\n`,
      { mode: 0o644 },
    );
    fs.chmodSync(folder, 0o755);
    return {
      /** PEM: what a file of the user's holds (none: what the system trusts), and the gateway's authority. */
      bundle,
      keystore,
      phpFolder: folder,
      remove: () => fs.rmSync(folder, { recursive: true, force: true }),
    };
  } catch {
    return null;
  }
}

/** The folders of our supervisors that were killed before they could remove them. Only their own pid namespace can tell that they have ended. */
function removeAbandoned(): void {
  for (const name of fs.readdirSync(tmpdir())) {
    const [, namespace, pid, startId] = NAME.exec(name) ?? [];
    if (namespace !== namespaceId() || startedAs(Number(pid)) === `${pid}-${startId}`) continue;
    const path = join(tmpdir(), name);
    if (fs.lstatSync(path, { throwIfNoEntry: false })?.uid === process.geteuid?.())
      fs.rmSync(path, { recursive: true, force: true });
  }
}

/** Names one process for ever, within its pid namespace. */
const startedAs = (pid: number): string => `${pid}-${statOf(pid)?.startId ?? 0}`;

const namespaceId = (): string => /\d+/.exec(pidNamespace() ?? '')?.[0] ?? '0';

function readFirst(paths: readonly string[]): string | null {
  return paths.map(readText).find((text) => text !== null) ?? null;
}

function certificatesIn(pem: string): Buffer[] {
  const blocks = pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g);
  return [...blocks].map(([, text = '']) => Buffer.from(text, 'base64'));
}

/** The file of trusted certificates that PHP's settings name; where the settings lie, only PHP knows. Its curl reads `openssl.cafile`, too. */
export function filePhpTrusts([program = '']: readonly string[], env: Environment, cwd: string): string {
  const php = /^php[\d.]*$/.test(basename(program)) ? program : 'php';
  const code = "echo ini_get('openssl.cafile') ?: ini_get('curl.cainfo');";
  const words = ['-d', 'display_errors=stderr', '-r', code];
  const { stdout } = spawnSync(php, words, { env, cwd, timeout: 5_000, encoding: 'utf8' });
  return stdout || env.SSL_CERT_FILE || '';
}

/** Whom the command's JVM trusts by itself, and the one of JAVA_HOME: a company's own authority may be among them. */
export function jvmAuthorities([program = '']: readonly string[], env: Environment): Buffer[] {
  const places = program.includes('/')
    ? [program]
    : (env.PATH ?? '').split(':').map((it) => join(it, 'java'));
  const java = places.find((it) => fs.existsSync(it));
  const homes = [env.JAVA_HOME, java && join(fs.realpathSync(java), '../..')];
  return homes.flatMap((home) => {
    try {
      return certificatesWithin(fs.readFileSync(join(home ?? '', 'lib/security/cacerts')));
    } catch {
      return [];
    }
  });
}

/** Certificates lie as they are in JKS, and in the PKCS #12 of Java 18 and later. */
function certificatesWithin(bytes: Buffer): Buffer[] {
  const found: Buffer[] = [];
  const head = Buffer.of(0x30, 0x82);
  for (let at = bytes.indexOf(head); at >= 0; at = bytes.indexOf(head, at + 1)) {
    const der = bytes.subarray(at, at + 4 + (bytes[at + 2]! << 8) + bytes[at + 3]!);
    try {
      new X509Certificate(der);
      found.push(der);
      at += der.length - 1;
    } catch {
      // Something else.
    }
  }
  return found;
}

/** Java's own format (sun.security.provider.JavaKeyStore): a digest over password and content; trust needs no secret. */
function keystoreOf(certificates: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [int32(0xfeedfeed), int32(2), int32(certificates.length)];
  for (const [i, der] of certificates.entries())
    parts.push(int32(2), text(`ca${i}`), Buffer.alloc(8), text('X.509'), int32(der.length), der);
  const content = Buffer.concat(parts);
  const password = Buffer.from('changeit', 'utf16le').swap16();
  const digest = createHash('sha1').update(password).update('Mighty Aphrodite').update(content).digest();
  return Buffer.concat([content, digest]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function text(value: string): Buffer {
  return Buffer.concat([Buffer.of(value.length >> 8, value.length & 255), Buffer.from(value)]);
}
