/** What the engines have in common when something fails: the words, and what is whose fault. */
import { LeaseConfigError, LeaseIoError } from './store.ts';
import type { LeaseUrl } from './url.ts';

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the other side cut the connection',
  EPIPE: 'the other side cut the connection',
  UND_ERR_SOCKET: 'the other side cut the connection',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name server does not answer',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no network',
};
const BAD_CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO_(?:VERIFY|GET_ISSUER)/;
const NO_TLS = /WRONG_VERSION_NUMBER|EPROTO|PACKET_LENGTH_TOO_LONG|UNEXPECTED_MESSAGE/;

/** An error of the socket. `sent`: the write may have gone out before. `insecure`: how to take any certificate. */
export function socketTrouble(url: LeaseUrl, error: unknown, sent: boolean, insecure = '?tls=insecure') {
  if (LeaseIoError.is(error) || LeaseConfigError.is(error)) return error;
  const { code = '', message = String(error) } = error as NodeJS.ErrnoException;
  const place = `${url.scheme} lease at ${placeOf(url)}`;
  if (BAD_CERTIFICATE.test(code))
    return new LeaseConfigError(
      `${place}: its certificate is not trusted (${code}); name its authority (NODE_EXTRA_CA_CERTS or the URL's options), or add ${insecure} to the URL`,
    );
  if (NO_TLS.test(code))
    return new LeaseConfigError(`${place}: it does not speak TLS there (${code}); is the scheme right?`);
  return new LeaseIoError(`${place}: ${WORDS[code] ?? url.hide(message)}`, sent);
}

/** `asked`: it is the answer that is missing, not the connection. */
export function lateTrouble(url: LeaseUrl, ms: number, asked: boolean, maybeApplied = asked): LeaseIoError {
  const what = asked ? 'no answer' : 'no connection';
  return new LeaseIoError(
    `${url.scheme} lease at ${placeOf(url)}: ${what} within ${Math.round(ms)} ms`,
    maybeApplied,
  );
}

export function closedTrouble(url: LeaseUrl): LeaseIoError {
  return new LeaseIoError(`${url.scheme} lease at ${placeOf(url)}: closed`, false);
}

/** Something stands where the record should be, and it is not ours. */
export function strangerTrouble(url: LeaseUrl, name: string, text: string): LeaseConfigError {
  const shown = text.length > 40 ? `${text.slice(0, 40)}…` : text;
  return new LeaseConfigError(
    `${url.scheme} lease at ${placeOf(url)}: ${name} holds something that singlepoll did not write: ${url.hide(JSON.stringify(shown))}; remove it or name another place`,
  );
}

export function placeOf(url: LeaseUrl): string {
  return url.hosts.length === 0
    ? url.shown
    : url.hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(', ');
}
