/**
 * Kubernetes: a Lease object, whose annotation holds the record; its spec is filled in for `kubectl get lease` and never read.
 * In a pod the service account's files and variables give server, namespace and token; the URL may name others. The token is
 * read again for each request, because it is renewed every hour or so.
 */
import { existsSync } from 'node:fs';
import { showHttpAddress } from '../config/values.ts';
import { openHttp } from './http.ts';
import {
  createStore,
  EngineAnswer,
  type Entry,
  LeaseConfigError,
  type LeaseRecord,
  type LeaseStore,
  type Rev,
  type Rule,
} from './store.ts';
import { type LeaseUrl, readNamedFile, tlsOf } from './url.ts';

const ANNOTATION = 'singlepoll/record';
/** The server ends a watch after this; until then a revoked token goes unnoticed. */
const WATCH_SECONDS = 240;
const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** A Lease, or the Status object that the server sends instead. */
interface Lease {
  kind?: string;
  message?: string;
  metadata?: { uid?: string; resourceVersion?: string; annotations?: Record<string, string> };
  spec?: { holderIdentity?: string };
  details?: { kind?: string };
}

/** Rules match the HTTP status. */
const rulesFor = (name: string, tokenFile: string | null): Rule[] => [
  [
    /401/,
    'config',
    `the token ${tokenFile === null ? '(none was sent)' : `in ${tokenFile}`} is not accepted`,
  ],
  [
    /403/,
    'config',
    `let a Role grant it, in apiGroups coordination.k8s.io on resources leases: create, and for ${name}: get, update, watch`,
  ],
  [/429|410/, 'refused'],
  [/^[^5]/, 'config', 'is that the API of Kubernetes, and is the namespace there?'],
];

/** `fallback`: the Lease's name if the URL gives none. */
export function openKubernetes(url: LeaseUrl, fallback: string): LeaseStore {
  const { server, namespace } = findPlace(url);
  const name = url.path || fallback;
  const folder = `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/leases`;
  // The pod's credentials are sent to its own server only. `kubectl proxy` wants none, so no token is allowed.
  const inPod = url.options.get('server') === null;
  const tokenFile = url.options.get('token-file') ?? (inPod ? `${ACCOUNT}/token` : null);
  const label = `Kubernetes lease ${namespace}/${name} at ${server}`;
  const authority = `${ACCOUNT}/ca.crt`;
  const http = openHttp(server, () => ({
    ...(inPod && { ca: readNamedFile(authority, `the authority of ${label}`) }),
    ...tlsOf(url),
  }));

  function headers(): Record<string, string> {
    if (tokenFile === null) return {};
    const token = readNamedFile(tokenFile, `the token of ${label}`).trim();
    if (token === '') throw new LeaseConfigError(`the token of ${label} is missing: ${tokenFile} is empty`);
    return { authorization: `Bearer ${token}` };
  }

  /** The Lease; null: the API says that there is none, or that it conflicts with another one. */
  async function ask(
    method: 'GET' | 'POST' | 'PUT',
    signal: AbortSignal,
    body?: object,
  ): Promise<Lease | null> {
    const path = method === 'POST' ? folder : `${folder}/${encodeURIComponent(name)}`;
    const { status, json } = await http.call<Lease>({ method, path, headers: headers(), body }, signal);
    if (status < 300 && json?.kind === 'Lease') return json;
    // A Status object says that the Lease is absent; any other page says that no API is there.
    const isAbsent = status === 404 && json?.details?.kind !== 'namespaces';
    if (json?.kind === 'Status' && (status === 409 || isAbsent)) return null;
    throw new EngineAnswer(String(status), json?.message ?? `HTTP ${status}`);
  }

  async function read(signal: AbortSignal): Promise<Entry | null> {
    // Without a resourceVersion this is a quorum read.
    const lease = await ask('GET', signal);
    if (lease === null) return null;
    const { metadata, spec } = lease;
    return {
      rev: revOf(lease),
      text: metadata?.annotations?.[ANNOTATION] ?? `a Lease of ${spec?.holderIdentity}`,
    };
  }

  return createStore({
    ...{ kind: 'kubernetes', label, where: `${name}'s annotation ${ANNOTATION}`, hide: url.hide },
    rules: rulesFor(name, tokenFile),
    read,
    async cas(prev, text, signal, next) {
      const [uid, resourceVersion] = prev?.split('/') ?? [];
      // Without its uid, a PUT to a deleted Lease would create a new one.
      const metadata = { name, namespace, annotations: { [ANNOTATION]: text }, uid, resourceVersion };
      const head = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' };
      const lease = await ask(prev === null ? 'POST' : 'PUT', signal, {
        ...head,
        metadata,
        spec: specOf(next),
      });
      if (lease === null) return { current: await read(signal) };
      return revOf(lease);
    },
    async watch(changed, signal) {
      const query = `watch=1&fieldSelector=metadata.name%3D${name}&timeoutSeconds=${WATCH_SECONDS}`;
      const call = { method: 'GET', path: `${folder}?${query}`, headers: headers() } as const;
      const lines = await http.stream(call, signal);
      changed();
      for await (const line of lines) {
        if (/"type":\s*"ERROR"/.test(line)) return;
        changed();
      }
    },
    close: http.close,
  });
}

const revOf = ({ metadata }: Lease): Rev => `${metadata?.uid}/${metadata?.resourceVersion}`;

function specOf({ holder, host, pid, ttl }: LeaseRecord): object {
  return {
    holderIdentity: holder === '' || host === undefined ? holder : `${host}:${pid}`,
    leaseDurationSeconds: Math.max(1, Math.ceil(ttl / 1000)),
    renewTime: new Date().toISOString().replace('Z', '000Z'),
  };
}

/** The API server and the namespace: those that the URL names, else the pod's. Throws LeaseConfigError. */
function findPlace({ shown, options, hosts }: LeaseUrl): { server: string; namespace: string } {
  const wrong = (problem: string) => new LeaseConfigError(`the lease URL ${shown}: ${problem}`);
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = process.env;
  const named = options.get('server') ?? (host && `https://${showHttpAddress({ host, port: Number(port) })}`);
  if (!named)
    throw wrong(
      'this is no pod of Kubernetes (KUBERNETES_SERVICE_HOST is not set); outside name the server: k8s://namespace/name?server=https://host:6443&token-file=PATH&ca-file=PATH, or run kubectl proxy and name http://127.0.0.1:8001',
    );
  const server = URL.canParse(named) ? new URL(named) : null;
  if (!server || !/^https?:$/.test(server.protocol) || server.username !== '' || server.password !== '')
    throw wrong('its server is not like https://host:6443');
  const file = `${ACCOUNT}/namespace`;
  const namespace =
    hosts[0]?.host ?? (existsSync(file) ? readNamedFile(file, 'the namespace of this pod').trim() : '');
  if (namespace === '') throw wrong('it names no namespace, and this is no pod: k8s://namespace');
  return { server: server.origin, namespace };
}
