/**
 * `--lease URL`: which engine, where, and as whom. Everything that leaves this file in a message has the credentials masked.
 */
import { readFileSync } from 'node:fs';
import { LeaseConfigError } from './store.ts';

export type EngineKind = 'redis' | 'postgres' | 'etcd' | 'kubernetes' | 'memory';

export interface LeaseUrl {
  readonly kind: EngineKind;
  readonly scheme: string;
  /** The URL with its credentials masked. */
  readonly shown: string;
  readonly tls: boolean;
  /** `port` as the engine's default where none is given. IPv6 without brackets. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** Without the slashes at its ends. */
  readonly path: string;
  readonly options: URLSearchParams;
  /** Masks the password in a text, a server's answer for example. */
  hide(text: string): string;
}

const SCHEMES: Readonly<Record<string, { kind: EngineKind; tls: boolean; port: number }>> = {
  redis: { kind: 'redis', tls: false, port: 6379 },
  rediss: { kind: 'redis', tls: true, port: 6379 },
  valkey: { kind: 'redis', tls: false, port: 6379 },
  valkeys: { kind: 'redis', tls: true, port: 6379 },
  postgres: { kind: 'postgres', tls: false, port: 5432 },
  postgresql: { kind: 'postgres', tls: false, port: 5432 },
  etcd: { kind: 'etcd', tls: false, port: 2379 },
  etcds: { kind: 'etcd', tls: true, port: 2379 },
  k8s: { kind: 'kubernetes', tls: true, port: 443 },
  memory: { kind: 'memory', tls: false, port: 0 },
};

/** What the URLs of hosts carry besides is their clients' business; of what only we read, a typing error is told. */
const OPTIONS: Readonly<Partial<Record<EngineKind, readonly string[]>>> = {
  etcd: ['tls', 'ca-file', 'cert-file', 'key-file'],
  kubernetes: ['server', 'token-file', 'ca-file', 'tls'],
};

const EXAMPLES =
  'redis://[user:password@]host[:port][/db], postgres://user:password@host/database, etcd://host:2379[,host:2379][/prefix], k8s: or k8s://namespace/name';

/** Throws LeaseConfigError: with what is wrong, the value (masked) and what is accepted. */
export function parseLeaseUrl(text: string): LeaseUrl {
  const trimmed = text.trim();
  const wrong = (problem: string) =>
    new LeaseConfigError(`the lease URL ${maskLeaseUrl(trimmed)}: ${problem}; accepted: ${EXAMPLES}`);
  const [, scheme = '', rest = ''] = /^([a-z0-9]+):(.*)$/is.exec(trimmed) ?? [];
  const engine = SCHEMES[scheme.toLowerCase()];
  if (!engine) throw wrong(scheme === '' ? 'no engine is named' : `no engine is called by ${scheme}:`);
  const parts = /^(?:\/\/(?:([^/?#]*)@)?([^/?#@]*))?(\/?[^?#@]*)(?:\?([^#@]*))?$/.exec(rest);
  if (!parts) throw wrong('in a user name or password write / as %2F, ? as %3F, # as %23 and @ as %40');
  const [, login, hostText = '', path = '', query = ''] = parts;
  const decode = (part: string): string => {
    try {
      return decodeURIComponent(part);
    } catch {
      throw wrong('a % in it does not begin an encoded character; write it as %25');
    }
  };
  const colon = login?.indexOf(':') ?? -1;
  // PostgreSQL's own URLs may carry both behind the question mark, where a + is a +.
  const option = (name: string) =>
    decode((engine.kind === 'postgres' && new RegExp(`(?:^|&)${name}=([^&]*)`).exec(query)?.[1]) || '');
  const user = login ? decode(colon < 0 ? login : login.slice(0, colon)) : option('user');
  const password = login !== undefined && colon >= 0 ? decode(login.slice(colon + 1)) : option('password');

  const hosts = hostText
    .split(',')
    .filter(Boolean)
    .map((one) => {
      const found = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/i.exec(one);
      const port = Number(found?.[3] ?? engine.port);
      if (!found || port > 65_535 || (found[3] && port === 0))
        throw wrong(`${one} is no host with a port (IPv6 as [::1]:6379)`);
      return { host: found[1] ?? found[2]!, port };
    });
  const local = engine.kind === 'kubernetes' || engine.kind === 'memory';
  if (hosts.length === 0 && !local) throw wrong('it names no host');
  if (hosts.length > 1 && engine.kind !== 'etcd')
    throw wrong('it names more than one host, which only etcd has');

  const options = new URLSearchParams(query);
  const known = OPTIONS[engine.kind];
  for (const name of options.keys())
    if (known && !known.includes(name))
      throw wrong(`it has an option ${name}, which ${engine.kind} has not (it has ${known.join(', ')})`);
  const tlsOption = options.get('tls');
  if (tlsOption !== null && tlsOption !== 'insecure' && engine.kind !== 'postgres')
    throw wrong(`tls=${tlsOption} is unknown; tls=insecure takes any certificate`);

  return {
    kind: engine.kind,
    scheme: scheme.toLowerCase(),
    shown: maskLeaseUrl(trimmed),
    tls: engine.tls,
    hosts,
    user: user === '' ? undefined : user,
    password: password === '' ? undefined : password,
    path: decode(path.replace(/^\/+|\/+$/g, '')),
    options,
    hide: (message) => hideSecret(message, password),
  };
}

/** For messages: nothing of a password stays, also where the text is no URL at all. */
export function maskLeaseUrl(text: string): string {
  const trimmed = text.trim();
  const scheme = /^[a-z0-9]+:/i.exec(trimmed)?.[0];
  // Without a scheme that we know, the whole may be a secret.
  if (!scheme || !(scheme.slice(0, -1).toLowerCase() in SCHEMES)) return scheme ? `${scheme}…` : '…';
  const rest = trimmed.slice(scheme.length);
  const at = rest.lastIndexOf('@');
  const slashes = rest.startsWith('//') ? '//' : '';
  const user = /^(?:\/\/)?([^:@/?#]*):/.exec(rest)?.[1];
  const login = at < 0 ? '' : user === undefined ? '…@' : `${user}:…@`;
  const place = rest.slice(at < 0 ? slashes.length : at + 1);
  return `${scheme}${slashes}${login}${place.replace(/([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*/gi, hideValue)}`;
}

function hideValue(whole: string, name: string): string {
  return name.endsWith('-file=') ? whole : `${name}…`;
}

function hideSecret(text: string, secret: string): string {
  // One or two letters stand in every text.
  if (secret.length < 3) return text;
  return text.replaceAll(secret, '…').replaceAll(encodeURIComponent(secret), '…');
}

export interface LeaseTls {
  rejectUnauthorized?: boolean;
  ca?: string;
  cert?: string;
  key?: string;
}

/** The files that the URL names are read at each call: certificates are renewed. */
export function tlsOf(url: LeaseUrl): LeaseTls {
  const tls: LeaseTls = {};
  if (url.options.get('tls') === 'insecure') tls.rejectUnauthorized = false;
  for (const name of ['ca', 'cert', 'key'] as const) {
    const path = url.options.get(`${name}-file`);
    if (path) tls[name] = readNamedFile(path, `${name}-file of the lease URL ${url.shown}`);
  }
  return tls;
}

/** Throws LeaseConfigError with where the name came from. */
export function readNamedFile(path: string, where: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new LeaseConfigError(`${where}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}
