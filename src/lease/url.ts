/** `--lease URL`: engine, address and user. In every message from this file the credentials are masked. */
import { readFileSync } from 'node:fs';
import type { LeaseConfig } from '../config/checks.ts';
import { showValue } from '../config/messages.ts';
import { LEASE_URL, maskLeaseUrl } from '../config/targets.ts';
import { LeaseConfigError } from './store.ts';
import { timingOf } from './timing.ts';

type EngineKind = 'redis' | 'postgres' | 'etcd' | 'kubernetes';

export type LeaseUrl = Readonly<ReturnType<typeof parseLeaseUrl>>;

/** Engine, TLS, port. */
const SCHEMES: Readonly<Record<string, readonly [EngineKind, boolean, number]>> = {
  redis: ['redis', false, 6379],
  rediss: ['redis', true, 6379],
  valkey: ['redis', false, 6379],
  valkeys: ['redis', true, 6379],
  postgres: ['postgres', false, 5432],
  postgresql: ['postgres', false, 5432],
  etcd: ['etcd', false, 2379],
  etcds: ['etcd', true, 2379],
  k8s: ['kubernetes', true, 443],
};

/** Engines whose options only we read, so that a typing error is reported. Other URLs may carry options of other clients. */
const OPTIONS: Readonly<Partial<Record<EngineKind, readonly string[]>>> = {
  etcd: ['tls', 'ca-file', 'cert-file', 'key-file'],
  kubernetes: ['server', 'token-file', 'ca-file', 'tls'],
};
const SSLMODES = ['disable', 'allow', 'prefer', 'require', 'no-verify', 'verify-ca', 'verify-full'];

/** Stricter than WHATWG's URL, which takes a password with a bare / or # for a host and a path, and allows one host only. */
const PARTS = /^(?:\/\/(?:([^/?#]*)@)?([^/?#@]*))?(\/?[^?#@]*)(?:\?([^#@]*))?$/;
const HOST = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/i;

/** Throws LeaseConfigError with what is wrong, in which the value is masked. */
export function parseLeaseUrl(text: string) {
  const trimmed = text.trim();
  const shown = maskLeaseUrl(trimmed);
  const wrong = (problem: string) => new LeaseConfigError(`the lease URL ${shown}: ${problem}`);
  const [, typed = '', rest = ''] = /^([a-z0-9]+):(.*)$/is.exec(trimmed) ?? [];
  const scheme = typed.toLowerCase();
  if (!SCHEMES[scheme]) throw wrong(scheme ? `no engine is called by ${typed}:` : 'no engine is named');
  const [kind, tls, defaultPort] = SCHEMES[scheme];
  const parts = PARTS.exec(rest);
  if (!parts) throw wrong('in a user name or password write / as %2F, ? as %3F, # as %23 and @ as %40');
  const [, login = '', hostText = '', path = '', query = ''] = parts;
  const decode = (part = ''): string | undefined => {
    try {
      return decodeURIComponent(part) || undefined;
    } catch {
      throw wrong('a % in it does not begin an encoded character; write it as %25');
    }
  };
  // PostgreSQL's URLs may carry user and password after the question mark, where a + means a +.
  const option = (name: string) =>
    kind === 'postgres' ? new RegExp(`(?:^|&)${name}=([^&]*)`).exec(query)?.[1] : undefined;
  const [user, ...words] = login.split(':');
  const password = decode(words.join(':') || option('password'));

  const places = hostText.split(',').filter(Boolean);
  const hosts = places.map((place) => {
    const [, six, name = six, digits] = HOST.exec(place) ?? [];
    const port = Number(digits ?? defaultPort);
    if (!name || port === 0 || port > 65_535)
      throw wrong(`${place} is no host with a port (IPv6 as [::1]:6379)`);
    return { host: name, port };
  });
  const options = new URLSearchParams(query);
  const known = OPTIONS[kind];
  for (const name of options.keys())
    if (known && !known.includes(name))
      throw wrong(`it has an option ${name}, which ${kind} has not (it has ${known.join(', ')})`);
  const choices = kind === 'postgres' ? SSLMODES : ['insecure'];
  const choice = options.get(kind === 'postgres' ? 'sslmode' : 'tls');
  if (choice !== null && !choices.includes(choice))
    throw wrong(`${choice} is not known there; known is ${choices.join(', ')}`);
  if (hosts.length === 0 && kind !== 'kubernetes') throw wrong('it names no host');
  if (kind === 'redis' && /[^\d/]/.test(path))
    throw wrong('after the host stands a database number, as in redis://host/0');
  if (hosts.length > 1 && kind !== 'etcd') throw wrong('it names more than one host, which only etcd has');

  return {
    ...{ kind, scheme, tls, password, options },
    shown,
    /** `port` is the engine's default if none is given. IPv6 addresses have no brackets. */
    hosts,
    label: `${scheme} lease at ${places.join(', ') || shown}`,
    user: decode(user || option('user')),
    /** Without slashes at the ends. */
    path: decode(path.replace(/^\/+|\/+$/g, '')) ?? '',
    /** Masks the password in a text, for example in a server's answer. A secret of one or two letters would occur in every text. */
    hide: (message: string) =>
      password === undefined || password.length < 3
        ? message
        : message.replaceAll(password, '…').replaceAll(encodeURIComponent(password), '…'),
  };
}

/** What is wrong with the configured lease, each mistake with its place. */
export function leaseMistakes(lease: LeaseConfig | null): string[] {
  if (lease === null) return [];
  const mistakes: string[] = [];
  try {
    parseLeaseUrl(lease.url);
  } catch (error) {
    if (!(error instanceof LeaseConfigError)) throw error;
    const problem = error.message.replace(/^the lease URL \S*: /, '');
    mistakes.push(
      `${lease.from} is ${showValue(maskLeaseUrl(lease.url))}: ${problem}. Accepted: ${LEASE_URL.accepts}.`,
    );
  }
  const timing = timingOf(lease);
  if (typeof timing === 'string')
    mistakes.push(
      `${lease.timesFrom} makes a lease that can't work: ${timing}. Try --lease-profile fast (6s) or a longer --lease-ttl.`,
    );
  return mistakes;
}

export type LeaseTls = ReturnType<typeof tlsOf>;

export function tlsOf(url: LeaseUrl) {
  const files = filesOf(url, { ca: 'ca-file', cert: 'cert-file', key: 'key-file' });
  return { ...files, ...(url.options.get('tls') === 'insecure' && { rejectUnauthorized: false }) };
}

/** Reads the files that these options of the URL name, at each call, because certificates are renewed. */
export function filesOf(
  { options, shown }: LeaseUrl,
  names: Readonly<Record<'ca' | 'cert' | 'key', string>>,
) {
  const files: { ca?: string; cert?: string; key?: string } = {};
  for (const [what, option] of Object.entries(names)) {
    const path = options.get(option);
    // PostgreSQL's `sslrootcert=system` is no file.
    if (path && path !== 'system')
      files[what as keyof typeof files] = readNamedFile(path, `${option} of the lease URL ${shown}`);
  }
  return files;
}

/** Throws LeaseConfigError, which says where the name came from. */
export function readNamedFile(path: string, where: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new LeaseConfigError(`${where}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}
