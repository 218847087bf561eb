/**
 * The two URLs that may hold secrets, `--lease` and `--alert-url`: each is given directly or as `env:NAME` for the variable that
 * holds it, and is shown without its secrets.
 */
import { type Parsed, parsed, parseWebUrl, unparsed, type ValueType } from './values.ts';

interface Target extends ValueType<string> {
  /** Checks the URL. */
  readonly read: (text: string) => Parsed<string>;
  readonly show: (text: string) => string;
}

/** The variable that `env:NAME` names; undefined for a URL. */
export function variableOf(text: string): string | undefined {
  return /^env:([A-Za-z_]\w*)$/.exec(text)?.[1];
}

function target(accepts: string, { read, show }: Pick<Target, 'read' | 'show'>): Target {
  const isVariable = (text: string) => /^env:/i.test(text);
  return {
    placeholder: 'url',
    unit: '',
    accepts: `env:NAME, or ${accepts}`,
    parse(text) {
      const trimmed = text.trim();
      if (!isVariable(trimmed)) return read(trimmed);
      return variableOf(trimmed) ? parsed(trimmed) : unparsed('behind env: stands no name of a variable');
    },
    show: (text) => (isVariable(text.trim()) ? text.trim() : show(text.trim())),
    read,
  };
}

const ENGINE = /^(?:rediss?|valkeys?|postgres(?:ql)?|etcds?|k8s):/i;

/** Masks all of a password for messages, even if the text is no URL. */
export function maskLeaseUrl(text: string): string {
  const trimmed = text.trim();
  const scheme = ENGINE.exec(trimmed)?.[0];
  // Without a known scheme, the whole text may be a secret.
  if (!scheme) return `${/^[a-z0-9]+:/i.exec(trimmed)?.[0] ?? ''}…`;
  const rest = trimmed.slice(scheme.length);
  const at = rest.lastIndexOf('@');
  const slashes = rest.startsWith('//') ? '//' : '';
  const user = /^(?:\/\/)?([^:@/?#]*):/.exec(rest)?.[1];
  const login = at < 0 ? '' : user === undefined ? '…@' : `${user}:…@`;
  const place = rest.slice(at < 0 ? slashes.length : at + 1);
  const hideValue = (whole: string, name: string) => (name.endsWith('-file=') ? whole : `${name}…`);
  return `${scheme}${slashes}${login}${place.replace(/([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*/gi, hideValue)}`;
}

export const LEASE_URL = target(
  'the URL of an engine, such as redis://[user:password@]host[:port][/db], postgres://user:password@host/database, etcd://host:2379, k8s: or k8s://namespace/name',
  {
    read: (text) => (ENGINE.test(text) ? parsed(text) : unparsed('it names no engine')),
    show: maskLeaseUrl,
  },
);

export const ALERT_URL = target(
  'an http or https URL, such as https://hooks.slack.com/services/… or https://ntfy.sh/my-topic',
  {
    read(text) {
      const url = parseWebUrl(text);
      return url.ok ? parsed(text) : url;
    },
    // A webhook's URL is secret except for its host.
    show(text) {
      if (!URL.canParse(text)) return '…';
      const { protocol, host, pathname, search } = new URL(text);
      return `${protocol}//${host}${pathname.length > 1 || search ? '/…' : ''}`;
    },
  },
);

export const TARGETS = { lease: LEASE_URL, alertUrl: ALERT_URL } as const;

/** The typed flags that hold a secret: process lists show it, and it must not go into a file that others may read. */
export function secretFlags(
  flags: Readonly<Record<string, unknown>>,
): readonly { readonly name: keyof typeof TARGETS; readonly value: string }[] {
  return (['lease', 'alertUrl'] as const).flatMap((name) => {
    const value = flags[name];
    if (typeof value !== 'string' || !TARGETS[name].read(value).ok) return [];
    const isSecret = TARGETS[name].show(value) !== value.trim();
    return isSecret ? [{ name, value }] : [];
  });
}

export const ALERT_PRESETS = ['json', 'slack', 'discord', 'ntfy'] as const;
export type AlertPreset = (typeof ALERT_PRESETS)[number];

export function guessFormat({ hostname, pathname }: URL): AlertPreset {
  // Slack's own server for governments, and Discord's test servers and old name.
  if (/^hooks\.slack(-gov)?\.com$/.test(hostname)) return 'slack';
  if (/(^|\.)discord(app)?\.com$/.test(hostname) && pathname.startsWith('/api/')) return 'discord';
  return hostname === 'ntfy.sh' ? 'ntfy' : 'json';
}

/** The last part of the path. */
export function topicOf({ pathname }: URL): string {
  const last = pathname.replace(/\/+$/, '').replace(/^.*\//, '');
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}
