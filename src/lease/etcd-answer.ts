/** What etcd's JSON gateway answers. From 3.6 on its errors have a `message` alone, before also an `error`. */
import type { HttpAnswer } from './http.ts';
import { LeaseConfigError, LeaseIoError } from './store.ts';
import { placeOf } from './trouble.ts';
import type { LeaseUrl } from './url.ts';

/** Of all kinds of answers together; what is zero, false or empty is left out. */
export interface EtcdAnswer {
  header?: { revision?: string };
  kvs?: { value?: string; mod_revision?: string }[];
  succeeded?: boolean;
  responses?: { response_range?: EtcdAnswer }[];
  token?: string;
  result?: { created?: boolean; canceled?: boolean; compact_revision?: string; events?: unknown[] };
}

/** Codes of gRPC. */
const INVALID_ARGUMENT = 3;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;

const CREDENTIALS =
  /user name is empty|authentication failed|invalid auth token|authentication is not enabled/i;

/** `write`: where the answer says nothing, it may have been applied. */
export function judgeEtcd(
  url: LeaseUrl,
  key: string,
  { status, text }: HttpAnswer,
  write: boolean,
): EtcdAnswer {
  const answer = parseEtcd(text) as (EtcdAnswer & { message?: string; error?: string; code?: number }) | null;
  if (status === 200 && answer) return answer;
  const place = `${url.scheme} lease at ${placeOf(url)}`;
  const message = url.hide(answer?.message ?? answer?.error ?? `HTTP ${status}`);
  if (CREDENTIALS.test(message))
    throw new LeaseConfigError(
      `${place}: ${message}; check user and password in the URL: ${url.scheme}://user:password@host`,
    );
  if (answer?.code === PERMISSION_DENIED)
    throw new LeaseConfigError(
      `${place}: ${message}; let an administrator grant it: etcdctl role grant-permission ROLE readwrite ${key}`,
    );
  if (status < 500 && !answer?.code)
    throw new LeaseConfigError(
      `${place}: HTTP ${status}, not an answer of etcd 3.4 or later; is it the client port?`,
    );
  const refused = answer?.code === INVALID_ARGUMENT || answer?.code === RESOURCE_EXHAUSTED;
  throw new LeaseIoError(`${place}: ${message}`, write && !refused);
}

export function parseEtcd(text: string): EtcdAnswer | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' ? (value as EtcdAnswer | null) : null;
  } catch {
    return null;
  }
}
