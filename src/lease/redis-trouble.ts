/** What the errors of a Redis or Valkey server mean. https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors */
import { LeaseConfigError, LeaseIoError } from './store.ts';
import { placeOf } from './trouble.ts';
import type { LeaseUrl } from './url.ts';

const REFUSED =
  /^(?:READONLY|LOADING|MASTERDOWN|NOREPLICAS|MISCONF|OOM|BUSY|CLUSTERDOWN|TRYAGAIN|ERR max number of clients)/;
const CREDENTIALS =
  /^(?:NOAUTH|WRONGPASS|ERR (?:AUTH|invalid password|Client sent AUTH))|^HELLO must be called/;
const MISTAKE = /^(?:WRONGTYPE|CROSSSLOT|ERR (?:unknown command|DB index|invalid DB|SELECT|wrong number))/;

export function isAboutCredentials(message: string): boolean {
  return CREDENTIALS.test(message);
}

/** `sent`: it was the answer to a write. Where a proxy answers in the server's place, the write may have been applied. */
export function redisTrouble(
  url: LeaseUrl,
  key: string,
  message: string,
  sent: boolean,
): LeaseIoError | LeaseConfigError {
  const text = `${url.scheme} lease at ${placeOf(url)}: ${url.hide(message)}`;
  if (/^(?:MOVED|ASK) /.test(message))
    return new LeaseConfigError(
      `${text}; this is a Redis Cluster, which singlepoll does not follow: name a single server`,
    );
  if (isAboutCredentials(message))
    return new LeaseConfigError(
      `${text}; check user and password in the URL: ${url.scheme}://user:password@host`,
    );
  if (message.startsWith('NOPERM'))
    return new LeaseConfigError(
      `${text}; let an administrator grant it: ACL SETUSER ${url.user ?? 'default'} +get +set +eval +publish +subscribe ~${key} &${key}`,
    );
  if (message.startsWith('READONLY'))
    return new LeaseIoError(`${text} It is a read-only replica: name the primary in the URL`, false);
  if (MISTAKE.test(message)) return new LeaseConfigError(`${text} (key ${key})`);
  return new LeaseIoError(text, sent && !REFUSED.test(message));
}
