/**
 * etcd by its JSON gateway (`/v3/`, 3.4 and later): keys and values in base64, numbers of 64 bits as strings, fields that are zero
 * left out. It uses no leases of etcd, because their renewals do not go through its log.
 * https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/
 */
import { type Http, type HttpAnswer, openHttp, parseObject } from './http.ts';
import { formatRecord } from './record.ts';
import { type CasResult, createTrouble, type LeaseStore, type Rule, type Seen } from './store.ts';
import { type LeaseUrl, tlsOf } from './url.ts';

/** Of all kinds of answers together. From 3.6 on errors have a `message` alone, before also an `error`. */
interface EtcdAnswer {
  header?: { revision?: string };
  kvs?: { value?: string; mod_revision?: string }[];
  succeeded?: boolean;
  responses?: { response_range?: EtcdAnswer }[];
  token?: string;
  result?: { created?: boolean; canceled?: boolean; compact_revision?: string; events?: unknown[] };
  message?: string;
  error?: string;
  code?: number;
}

/** For `HTTP status, gRPC code, message`; the code is 0 where the answer has none. */
const rulesFor = (scheme: string, key: string): Rule[] => [
  [
    /user name is empty|authentication failed|invalid auth token|authentication is not enabled/i,
    'config',
    `check user and password in the URL: ${scheme}://user:password@host`,
  ],
  [/^\d+ 7 /, 'config', `let an administrator grant it: etcdctl role grant-permission ROLE readwrite ${key}`],
  [/^[1-4]\d\d 0 /, 'config', 'that is not an answer of etcd 3.4 or later; is it the client port?'],
  // INVALID_ARGUMENT and RESOURCE_EXHAUSTED are told before anything is written.
  [/^\d+ [38] /, 'refused'],
];

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** `name`: of the record, below the prefix of the URL. */
export function openEtcd(url: LeaseUrl, name: string): LeaseStore {
  const key = url.path === '' ? name : `${url.path}/${name}`;
  const trouble = createTrouble(url.label, url.hide);
  const rules = rulesFor(url.scheme, key);
  const members: Http[] = url.hosts.map(({ host, port }) => {
    const origin = `${url.tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
    return openHttp(origin, () => tlsOf(url), trouble);
  });
  /** After a member has failed, the next call asks another one. */
  let at = 0;
  let token: string | null = null;
  /** The store's revision when the record was last found absent: a watch begins after it. */
  let absentAt: string | undefined;

  const request = (path: string, body: object) =>
    ({ method: 'POST', path, body, headers: token === null ? {} : { authorization: token } }) as const;

  async function send(path: string, body: object, endMs: number): Promise<HttpAnswer<EtcdAnswer>> {
    const member = at;
    const ms = endMs - performance.now();
    try {
      if (ms <= 0) throw trouble.late(ms, false);
      return await members[member]!.call<EtcdAnswer>(request(path, body), ms);
    } catch (error) {
      if (at === member) at = (member + 1) % members.length;
      throw error;
    }
  }

  function judge({ status, json }: HttpAnswer<EtcdAnswer>, write: boolean): EtcdAnswer {
    if (status === 200 && json) return json;
    const message = json?.message ?? json?.error ?? `HTTP ${status}`;
    throw trouble.answer(`${status} ${json?.code ?? 0} ${message}`, message, write, rules);
  }

  /** `write`: an answer that says nothing leaves open whether it was applied. */
  async function ask(path: string, body: object, ms: number, write: boolean): Promise<EtcdAnswer> {
    const endMs = performance.now() + ms;
    const { user, password = '' } = url;
    const signIn = async (): Promise<void> => {
      const answer = await send('/v3/auth/authenticate', { name: user, password }, endMs);
      token = judge(answer, false).token ?? null;
    };
    const known = token !== null;
    if (user !== undefined && !known) await signIn();
    let answer = await send(path, body, endMs);
    // A token that has expired was turned down before anything else was looked at.
    const expired = /invalid auth token|revision in header is old/i;
    if (known && answer.status !== 200 && expired.test(answer.json?.message ?? answer.json?.error ?? '')) {
      token = null;
      await signIn();
      answer = await send(path, body, endMs);
    }
    return judge(answer, write);
  }

  function seenIn(range: EtcdAnswer): Seen | null {
    const kv = range.kvs?.[0];
    if (!kv) return null;
    const text = Buffer.from(kv.value ?? '', 'base64').toString();
    // A store that was wiped counts from 1 again; then the value tells.
    return { rev: `${kv.mod_revision} ${text}`, rec: trouble.record(key, text) };
  }

  return {
    kind: 'etcd',
    async read(ms) {
      const range = await ask('/v3/kv/range', { key: base64(key) }, ms, false);
      const seen = seenIn(range);
      absentAt = seen ? undefined : range.header?.revision;
      return seen;
    },
    async cas(prev, next, ms): Promise<CasResult> {
      const text = formatRecord(next);
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
      const done = await ask('/v3/kv/txn', body, ms, true);
      if (done.succeeded) return { ok: true, rev: `${done.header?.revision} ${text}` };
      return { ok: false, current: seenIn(done.responses?.[0]?.response_range ?? {}) };
    },
    watch(after, { changed, ended }) {
      const start = after === null ? absentAt : after.slice(0, after.indexOf(' '));
      const from = start === undefined ? {} : { start_revision: String(BigInt(start) + 1n) };
      const create = { create_request: { key: base64(key), ...from } };
      return members[at]!.stream(request('/v3/watch', create), {
        line(text) {
          const { result } = parseObject<EtcdAnswer>(text) ?? {};
          // Compacted: what came after `after` cannot be told any more, so something did.
          if (result && ((result.created && !result.canceled) || result.events || result.compact_revision))
            changed();
          if (result?.canceled) ended();
        },
        ended,
      });
    },
    async close() {
      for (const member of members) member.close();
    },
  };
}
