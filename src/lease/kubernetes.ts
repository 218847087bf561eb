/**
 * Kubernetes: a Lease object, whose annotation holds the record; its spec is filled in for `kubectl get lease` and never read.
 * In a pod the service account's files and variables say where and as whom; the URL may name others. The token is read again for
 * each request, because it is renewed every hour or so.
 */
import { existsSync } from 'node:fs';
import { openHttp } from './http.ts';
import { formatRecord, type LeaseRecord } from './record.ts';
import {
  type CasResult,
  createTrouble,
  LeaseConfigError,
  LeaseIoError,
  type LeaseStore,
  type Rev,
  type Rule,
  type Seen,
} from './store.ts';
import { type LeaseUrl, readNamedFile } from './url.ts';

const ANNOTATION = 'singlepoll/record';
/** The server ends a watch by itself after this; until then a token that was taken back goes unnoticed. */
const WATCH_SECONDS = 240;
const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const DNS_NAME = /^[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?$/;

/** A Lease, or the Status object that stands in its place. */
interface Lease {
  kind?: string;
  message?: string;
  metadata?: { uid?: string; resourceVersion?: string; annotations?: Record<string, string> };
  spec?: { holderIdentity?: string };
  details?: { kind?: string };
}

/** For the HTTP status. */
const rulesFor = ({ name, tokenFile }: ReturnType<typeof findPlace>, isApi: boolean): Rule[] => [
  [
    /401/,
    'config',
    `the token ${tokenFile === null ? '(none was sent) ' : `in ${tokenFile} `}is not accepted`,
  ],
  [
    /403/,
    'config',
    `let a Role grant it, in apiGroups coordination.k8s.io on resources leases: create, and for ${name}: get, update, watch`,
  ],
  [/429|410/, 'refused'],
  [/^5/, 'unclear'],
  isApi ? [/^/, 'config'] : [/^/, 'config', 'that is no API of Kubernetes'],
];

/** `fallback`: the Lease's name where the URL gives none. */
export function openKubernetes(url: LeaseUrl, fallback: string): LeaseStore {
  const place = findPlace(url, fallback);
  const { server, namespace, name, tokenFile, caFile } = place;
  const folder = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  const label = `Kubernetes lease ${namespace}/${name} at ${server}`;
  const trouble = createTrouble(label, url.hide);
  const tls = () => ({
    ...(caFile !== null && { ca: readNamedFile(caFile, `the authority of ${label}`) }),
    ...(url.options.get('tls') === 'insecure' && { rejectUnauthorized: false }),
  });
  const http = openHttp(server, tls, trouble);
  /** A Lease that an administrator has made for us and nobody has used yet. */
  let blank: Rev | null = null;

  function headers(): Record<string, string> {
    const token = tokenFile === null ? '' : readNamedFile(tokenFile, `the token of ${label}`).trim();
    return token === '' ? {} : { authorization: `Bearer ${token}` };
  }

  async function ask(method: 'GET' | 'POST' | 'PUT', path: string, ms: number, body?: object) {
    const call = { method, path, headers: headers(), ...(body && { body }) };
    const { status, json } = await http.call<Lease>(call, ms);
    // Status objects tell of the Lease; a page tells that no API is there.
    const isAbsent = status === 404 && json?.details?.kind !== 'namespaces';
    const isLease = status >= 200 && status < 300 && json?.kind === 'Lease';
    if (json && (isLease || (json.kind === 'Status' && (status === 409 || isAbsent))))
      return { status, lease: json };
    const message = json?.message ?? `HTTP ${status}`;
    throw trouble.answer(String(status), message, method !== 'GET', rulesFor(place, json !== null));
  }

  function seenIn({ metadata, spec }: Lease): Seen | null {
    const rev = `${metadata?.uid}/${metadata?.resourceVersion}`;
    const text = metadata?.annotations?.[ANNOTATION];
    blank = null;
    if (text === undefined) {
      if (spec?.holderIdentity) throw trouble.stranger(name, `the Lease of ${spec.holderIdentity}`);
      blank = rev;
      return null;
    }
    return { rev, rec: trouble.record(`${name}'s annotation ${ANNOTATION}`, text) };
  }

  async function read(ms: number): Promise<Seen | null> {
    // Without a resourceVersion this is a read of what a majority has.
    const { status, lease } = await ask('GET', `${folder}/${name}`, ms);
    if (status === 200) return seenIn(lease);
    blank = null;
    return null;
  }

  return {
    kind: 'kubernetes',
    read,
    async cas(prev, next, ms): Promise<CasResult> {
      const endMs = performance.now() + ms;
      const base = prev ?? blank;
      const [uid, resourceVersion] = base?.split('/') ?? [];
      const object = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        // Without its uid, a PUT to a Lease that was deleted would make a new one.
        metadata: {
          name,
          namespace,
          annotations: { [ANNOTATION]: formatRecord(next) },
          uid,
          resourceVersion,
        },
        spec: specOf(next),
      };
      const { status, lease } = await (base === null
        ? ask('POST', folder, ms, object)
        : ask('PUT', `${folder}/${name}`, ms, object));
      if (status < 300) return { ok: true, rev: seenIn(lease)!.rev };
      if (status === 404) return { ok: false, current: null };
      const current = await read(Math.max(1, endMs - performance.now())).catch((error) => {
        throw error instanceof LeaseIoError ? new LeaseIoError(error.message, false) : error;
      });
      return { ok: false, current };
    },
    watch(after, { changed, ended }) {
      const query = new URLSearchParams({
        ...{ watch: '1', fieldSelector: `metadata.name=${name}`, timeoutSeconds: String(WATCH_SECONDS) },
        ...(after !== null && { resourceVersion: after.slice(after.indexOf('/') + 1) }),
      });
      let known: Record<string, string> = {};
      try {
        known = headers();
      } catch {
        // A read tells what is wrong with the file.
        setImmediate(ended);
        return () => {};
      }
      const call = { method: 'GET', path: `${folder}?${query}`, headers: known } as const;
      return http.stream(call, {
        opened: changed,
        line(text) {
          changed();
          // 410: what came after `after` is forgotten. The next watch begins where the reader then is.
          if (/"type":\s*"ERROR"/.test(text)) ended();
        },
        ended,
      });
    },
    async close() {
      http.close();
    },
  };
}

/** What `kubectl get lease` shows. */
function specOf({ holder, host, pid, ttl }: LeaseRecord): object {
  const shown = host === undefined ? holder : pid === undefined ? host : `${host}:${pid}`;
  return {
    holderIdentity: holder === '' ? '' : shown,
    leaseDurationSeconds: Math.max(1, Math.ceil(ttl / 1000)),
    renewTime: new Date().toISOString().replace('Z', '000Z'),
  };
}

/** Where the API server is, and as whom: the service account of the pod, or what the URL names instead. Throws LeaseConfigError. */
function findPlace({ shown, options, hosts, path }: LeaseUrl, fallback: string) {
  const wrong = (problem: string) => new LeaseConfigError(`the lease URL ${shown}: ${problem}`);
  const named = options.get('server');
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = process.env;
  if (named === null && !host)
    throw wrong(
      'this is no pod of Kubernetes (KUBERNETES_SERVICE_HOST is not set); outside name the server: k8s://namespace/name?server=https://host:6443&token-file=PATH&ca-file=PATH, or run kubectl proxy and name http://127.0.0.1:8001',
    );
  const text = named ?? `https://${host?.includes(':') ? `[${host}]` : host}:${port}`;
  const server = URL.canParse(text) ? new URL(text) : null;
  if (!server || !/^https?:$/.test(server.protocol) || server.username !== '' || server.password !== '')
    throw wrong('its server is not like https://host:6443');
  // What the pod has is for its own server alone.
  const inPod = (file: string): string | null => (named === null ? `${ACCOUNT}/${file}` : null);
  const namespaceFile = `${ACCOUNT}/namespace`;
  const namespace =
    hosts[0]?.host ??
    (existsSync(namespaceFile) ? readNamedFile(namespaceFile, 'the namespace of this pod').trim() : '');
  if (namespace === '') throw wrong('it names no namespace, and this is no pod: k8s://namespace');
  const name = path || fallback;
  for (const part of [namespace, name])
    if (!DNS_NAME.test(part))
      throw wrong(`${part} is no name in Kubernetes (small letters, digits, - and .)`);
  return {
    server: server.origin,
    namespace,
    name,
    /** Null: no credentials are sent, as `kubectl proxy` wants it. */
    tokenFile: options.get('token-file') ?? inPod('token'),
    caFile: options.get('ca-file') ?? inPod('ca.crt'),
  };
}
