/**
 * etcd by its JSON gateway (`/v3/`, 3.4 and later): keys and values in base64, numbers of 64 bits as strings, fields that are zero
 * left out. No leases of etcd: their renewals do not go through its log.
 * https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/
 */

import { type EtcdAnswer, judgeEtcd, parseEtcd } from './etcd-answer.ts';
import { type Http, type HttpAnswer, openHttp } from './http.ts';
import { formatRecord, parseRecord } from './record.ts';
import type { CasResult, LeaseStore, Rev, Seen } from './store.ts';
import { lateTrouble, strangerTrouble } from './trouble.ts';
import { type LeaseUrl, tlsOf } from './url.ts';
import { createWake } from './wake.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** `name`: of the record, below the prefix of the URL. */
export function openEtcd(url: LeaseUrl, name: string): LeaseStore {
  const key = url.path === '' ? name : `${url.path}/${name}`;
  const doors: Http[] = url.hosts.map(({ host, port }) => {
    const origin = `${url.tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
    return openHttp(url, origin, () => tlsOf(url));
  });
  /** Another member is asked after one has failed, by the next call. */
  let at = 0;
  let token: string | null = null;
  /** The store's when the record was last found absent: a watch begins after it. */
  let absentAt: string | undefined;
  const wake = createWake((after, _ms, bell) => {
    const start = after === null ? absentAt : after.slice(0, after.indexOf(' '));
    const from = start === undefined ? {} : { start_revision: String(BigInt(start) + 1n) };
    return doors[at]!.stream(request('/v3/watch', { create_request: { key: base64(key), ...from } }), {
      onOpen: (status) => status === 200 || bell.down(),
      onLine(line) {
        const { result } = parseEtcd(line) ?? {};
        if (result?.created && !result.canceled) bell.up();
        // Compacted: what came after `after` cannot be told any more, so something did.
        if (result?.events || result?.compact_revision) bell.ring();
        if (result?.canceled) bell.down();
      },
      onEnd: bell.down,
    });
  });

  function request(path: string, body: object) {
    const headers = {
      'content-type': 'application/json',
      ...(token === null ? {} : { authorization: token }),
    };
    return { method: 'POST', path, headers, body: JSON.stringify(body) } as const;
  }

  async function send(path: string, body: object, ms: number): Promise<HttpAnswer> {
    const door = at;
    try {
      if (ms <= 0) throw lateTrouble(url, ms, false);
      return await doors[door]!.call(request(path, body), ms);
    } catch (error) {
      if (at === door) at = (door + 1) % doors.length;
      throw error;
    }
  }

  /** `write`: an answer that says nothing leaves open whether it was applied. */
  async function ask(path: string, body: object, ms: number, write: boolean): Promise<EtcdAnswer> {
    const end = performance.now() + ms;
    const { user, password } = url;
    const signIn = async (): Promise<void> => {
      const answer = await send(
        '/v3/auth/authenticate',
        { name: user, password: password ?? '' },
        end - performance.now(),
      );
      token = judgeEtcd(url, key, answer, false).token ?? null;
    };
    const known = token !== null;
    if (user !== undefined && !known) await signIn();
    let answer = await send(path, body, end - performance.now());
    // A token that has expired was turned down before anything else was looked at.
    if (known && answer.status !== 200 && /invalid auth token|revision in header is old/i.test(answer.text)) {
      token = null;
      await signIn();
      answer = await send(path, body, end - performance.now());
    }
    return judgeEtcd(url, key, answer, write);
  }

  function seenIn(range: EtcdAnswer): Seen | null {
    const kv = range.kvs?.[0];
    if (!kv) return null;
    const text = Buffer.from(kv.value ?? '', 'base64').toString();
    const rec = parseRecord(text);
    if (!rec) throw strangerTrouble(url, key, text);
    // A store that was wiped counts from 1 again; then the value tells.
    return { rev: `${kv.mod_revision} ${text}`, rec };
  }

  return {
    kind: 'etcd',
    async read(ms) {
      const range = await ask('/v3/kv/range', { key: base64(key) }, ms, false);
      const seen = seenIn(range);
      absentAt = seen ? undefined : range.header?.revision;
      return seen;
    },
    async cas(prev: Rev | null, next, ms): Promise<CasResult> {
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
    changed: wake.wait,
    async close() {
      wake.close();
      await Promise.all(doors.map((door) => door.close()));
    },
  };
}
