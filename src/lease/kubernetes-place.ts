/** Where the API server is, and as whom: the service account of the pod, or what the URL names instead. */
import { existsSync } from 'node:fs';
import { LeaseConfigError } from './store.ts';
import { type LeaseUrl, readNamedFile } from './url.ts';

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const DNS_NAME = /^[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?$/;

export interface KubernetesPlace {
  /** Origin: `https://10.0.0.1:443`. */
  readonly server: string;
  readonly namespace: string;
  readonly name: string;
  /** Null: no credentials are sent, as `kubectl proxy` wants it. */
  readonly tokenFile: string | null;
  readonly caFile: string | null;
  /** For the words about the socket. */
  readonly url: LeaseUrl;
}

/** Reads variables and files; throws LeaseConfigError. `fallback`: the name where the URL gives none. */
export function findKubernetes(url: LeaseUrl, fallback: string): KubernetesPlace {
  const wrong = (problem: string) => new LeaseConfigError(`the lease URL ${url.shown}: ${problem}`);
  const named = url.options.get('server');
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
  const caFile = url.options.get('ca-file') ?? inPod('ca.crt');
  const namespaceFile = `${ACCOUNT}/namespace`;
  const namespace =
    url.hosts[0]?.host ??
    (existsSync(namespaceFile) ? readNamedFile(namespaceFile, 'the namespace of this pod').trim() : '');
  if (namespace === '') throw wrong('it names no namespace, and this is no pod: k8s://namespace');
  const name = url.path || fallback;
  for (const part of [namespace, name])
    if (!DNS_NAME.test(part))
      throw wrong(`${part} is no name in Kubernetes (small letters, digits, - and .)`);
  const place = {
    host: server.hostname.replace(/^\[|\]$/g, ''),
    port: Number(server.port) || (server.protocol === 'https:' ? 443 : 80),
  };
  return {
    server: server.origin,
    namespace,
    name,
    tokenFile: url.options.get('token-file') ?? inPod('token'),
    caFile,
    url: { ...url, hosts: [place] },
  };
}
