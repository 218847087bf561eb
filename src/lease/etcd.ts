/**
 * etcd through its JSON gateway (https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/): keys and values are in base64, 64-bit numbers are
 * strings, zero fields are left out. etcd's own leases are not used, because their renewals do not go through its log.
 */
import { parseObject } from '../config/files.ts';
import { showHttpAddress } from '../config/values.ts';
import { type Http, openHttp } from './http.ts';
import { createStore, EngineAnswer, type Entry, type LeaseStore, type Rule } from './store.ts';
import { type LeaseUrl, tlsOf } from './url.ts';

/** The fields of all kinds of answers. Errors have a `message`, before 3.6 also an `error`. */
interface EtcdAnswer {
  header?: { revision?: string };
  kvs?: { value?: string; mod_revision?: string }[];
  succeeded?: boolean;
  responses?: { response_range?: EtcdAnswer }[];
  token?: string;
  result?: { created?: boolean; canceled?: boolean; events?: unknown[] };
  message?: string;
  error?: string;
  code?: number;
}

/** Rules match `HTTP status, gRPC code, message`; the code is 0 if the answer has none. */
const rulesFor = (scheme: string, key: string): Rule[] => [
  [
    /user name is empty|authentication failed|invalid auth token|authentication is not enabled/i,
    'config',
    `check user and password in the URL: ${scheme}://user:password@host`,
  ],
  [/^\d+ 7 /, 'config', `let an administrator grant it: etcdctl role grant-permission ROLE readwrite ${key}`],
  [/^[1-4]\d\d 0 /, 'config', 'that is not an answer of etcd 3.4 or later; is it the client port?'],
  // etcd reports INVALID_ARGUMENT and RESOURCE_EXHAUSTED before it writes anything.
  [/^\d+ [38] /, 'refused'],
];
/** etcd checks the token before it does anything else. */
const TOKEN_EXPIRED = /invalid auth token|revision in header is old/i;

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** `name` is the record's key, below the prefix of the URL. */
export function openEtcd(url: LeaseUrl, name: string): LeaseStore {
  const key = url.path === '' ? name : `${url.path}/${name}`;
  const members: Http[] = url.hosts.map((place) =>
    openHttp(`${url.tls ? 'https' : 'http'}://${showHttpAddress(place)}`, () => tlsOf(url)),
  );
  /** Index of the member to ask. After a member has failed, the next call asks another one. */
  let at = 0;
  let token: string | null = null;

  const request = (path: string, body: object) =>
    ({ method: 'POST', path, body, headers: token === null ? {} : { authorization: token } }) as const;

  async function send(path: string, body: object, signal: AbortSignal): Promise<EtcdAnswer> {
    const member = at;
    const { status, json } = await members[member]!.call<EtcdAnswer>(request(path, body), signal).catch(
      (error) => {
        if (at === member) at = (member + 1) % members.length;
        throw error;
      },
    );
    if (status === 200 && json) return json;
    const message = json?.message ?? json?.error ?? `HTTP ${status}`;
    throw new EngineAnswer(`${status} ${json?.code ?? 0} ${message}`, message);
  }

  async function ask(path: string, body: object, signal: AbortSignal): Promise<EtcdAnswer> {
    const { user, password = '' } = url;
    const known = token !== null;
    if (user !== undefined && !known)
      token = (await send('/v3/auth/authenticate', { name: user, password }, signal)).token ?? null;
    try {
      return await send(path, body, signal);
    } catch (error) {
      if (!known || !TOKEN_EXPIRED.test((error as Error).message)) throw error;
      token = null;
      return await ask(path, body, signal);
    }
  }

  function entryIn({ kvs: [kv] = [] }: EtcdAnswer): Entry | null {
    if (!kv) return null;
    const text = Buffer.from(kv.value ?? '', 'base64').toString();
    // A store that was wiped counts revisions from 1 again, so the rev includes the value.
    return { rev: `${kv.mod_revision} ${text}`, text };
  }

  return createStore({
    ...{ kind: 'etcd', label: url.label, where: key, hide: url.hide, rules: rulesFor(url.scheme, key) },
    read: async (signal) => entryIn(await ask('/v3/kv/range', { key: base64(key) }, signal)),
    async cas(prev, text, signal) {
      const target = { key: base64(key), result: 'EQUAL' };
      const space = prev?.indexOf(' ') ?? 0;
      const compare =
        prev === null
          ? [{ ...target, target: 'CREATE', create_revision: '0' }]
          : [
              { ...target, target: 'MOD', mod_revision: prev.slice(0, space) },
              { ...target, target: 'VALUE', value: base64(prev.slice(space + 1)) },
            ];
      const body = {
        compare,
        success: [{ requestPut: { key: base64(key), value: base64(text) } }],
        failure: [{ requestRange: { key: base64(key) } }],
      };
      const done = await ask('/v3/kv/txn', body, signal);
      if (done.succeeded) return `${done.header?.revision} ${text}`;
      return { current: entryIn(done.responses?.[0]?.response_range ?? {}) };
    },
    async watch(changed, signal) {
      const create = request('/v3/watch', { create_request: { key: base64(key) } });
      for await (const line of await members[at]!.stream(create, signal)) {
        const { created, canceled, events } = parseObject<EtcdAnswer>(line)?.result ?? {};
        if (canceled) return;
        if (created || events) changed();
      }
    },
    close: () => {
      for (const member of members) member.close();
    },
  });
}
