/**
 * Kubernetes: a Lease object, whose annotation holds the record; its spec is filled in for `kubectl get lease` and never read.
 * In a pod the service account's files and variables say where and as whom; the URL may name others. The token is read again for
 * each request: it is renewed every hour or so.
 */

import { type Http, openHttp } from './http.ts';
import { findKubernetes } from './kubernetes-place.ts';
import { kubernetesTrouble, type Lease, parseLease, specOf } from './kubernetes-words.ts';
import { formatRecord, parseRecord } from './record.ts';
import { type CasResult, LeaseIoError, type LeaseStore, type Rev, type Seen } from './store.ts';
import { strangerTrouble } from './trouble.ts';
import { type LeaseUrl, readNamedFile } from './url.ts';
import { createWake } from './wake.ts';

const ANNOTATION = 'singlepoll/record';
/** The server ends a watch by itself after this; until then a token that was taken back goes unnoticed. */
const WATCH_SECONDS = 240;

/** `fallback`: the Lease's name where the URL gives none. */
export function openKubernetes(from: LeaseUrl, fallback: string): LeaseStore {
  const found = findKubernetes(from, fallback);
  const { url, server, namespace, name, tokenFile, caFile } = found;
  const folder = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  const place = `Kubernetes lease ${namespace}/${name} at ${server}`;
  const http: Http = openHttp(url, server, () => ({
    ...(caFile !== null && { ca: readNamedFile(caFile, `the authority of ${place}`) }),
    ...(url.options.get('tls') === 'insecure' && { rejectUnauthorized: false }),
  }));
  /** A Lease that an administrator has made for us and nobody has used yet. */
  let blank: Rev | null = null;

  function headers(): Record<string, string> {
    const token = tokenFile !== null && readNamedFile(tokenFile, `the token of ${place}`).trim();
    return {
      accept: 'application/json',
      'content-type': 'application/json',
      ...(token && { authorization: `Bearer ${token}` }),
    };
  }

  async function ask(method: 'GET' | 'POST' | 'PUT', path: string, ms: number, object?: object) {
    const request = { method, path, headers: headers(), ...(object && { body: JSON.stringify(object) }) };
    const { status, text } = await http.call(request, ms);
    const lease = parseLease(text);
    if (lease && status >= 200 && status < 300 && lease.kind === 'Lease') return { status, lease };
    // Status objects tell of the Lease; a page tells that no API is there.
    if (
      lease?.kind === 'Status' &&
      (status === 409 || (status === 404 && lease.details?.kind !== 'namespaces'))
    )
      return { status, lease };
    throw kubernetesTrouble(found, status, lease, method !== 'GET');
  }

  function seenIn(lease: Lease): Seen | null {
    const { uid, resourceVersion, annotations } = lease.metadata ?? {};
    const rev = `${uid}/${resourceVersion}`;
    const text = annotations?.[ANNOTATION];
    if (text === undefined) {
      if (lease.spec?.holderIdentity)
        throw strangerTrouble(url, name, `the Lease of ${lease.spec.holderIdentity}`);
      blank = rev;
      return null;
    }
    blank = null;
    const rec = parseRecord(text);
    if (!rec) throw strangerTrouble(url, `${name}'s annotation ${ANNOTATION}`, text);
    return { rev, rec };
  }

  async function read(ms: number): Promise<Seen | null> {
    // Without a resourceVersion this is a read of what a majority has.
    const { status, lease } = await ask('GET', `${folder}/${name}`, ms);
    if (status === 200) return seenIn(lease);
    blank = null;
    return null;
  }

  const wake = createWake((after, _ms, bell) => {
    const query = new URLSearchParams({
      ...{ watch: '1', fieldSelector: `metadata.name=${name}`, timeoutSeconds: String(WATCH_SECONDS) },
      ...(after !== null && { resourceVersion: after.slice(after.indexOf('/') + 1) }),
    });
    let known: Record<string, string>;
    try {
      known = headers();
    } catch {
      bell.down();
      return () => {};
    }
    return http.stream(
      { method: 'GET', path: `${folder}?${query}`, headers: known },
      {
        onOpen: (status) => (status === 200 ? bell.up() : bell.down()),
        onLine(line) {
          bell.ring();
          // 410: what came after `after` is forgotten. The next watch begins where the reader then is.
          if (/"type":\s*"ERROR"/.test(line)) bell.down();
        },
        onEnd: bell.down,
      },
    );
  });

  return {
    kind: 'kubernetes',
    read,
    async cas(prev, next, ms): Promise<CasResult> {
      const end = performance.now() + ms;
      const base = prev ?? blank;
      const [uid, resourceVersion] = base?.split('/') ?? [];
      const metadata = { name, namespace, annotations: { [ANNOTATION]: formatRecord(next) } };
      // Without its uid, a PUT to a Lease that was deleted would make a new one.
      const object = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { ...metadata, uid, resourceVersion },
        spec: specOf(next),
      };
      const { status, lease } = await (base === null
        ? ask('POST', folder, ms, object)
        : ask('PUT', `${folder}/${name}`, ms, object));
      if (status < 300) {
        const seen = seenIn(lease);
        blank = null;
        return { ok: true, rev: seen!.rev };
      }
      if (status === 404) return { ok: false, current: null };
      const current = await read(Math.max(1, end - performance.now())).catch((error) => {
        throw LeaseIoError.is(error) ? new LeaseIoError(error.message, false) : error;
      });
      return { ok: false, current };
    },
    changed: wake.wait,
    async close() {
      wake.close();
      await http.close();
    },
  };
}
