/** The objects of the Kubernetes API that a lease needs, and what its errors mean. */

import type { KubernetesPlace } from './kubernetes-place.ts';
import type { LeaseRecord } from './record.ts';
import { LeaseConfigError, LeaseIoError } from './store.ts';

/** A Lease, or the Status object that stands in its place. */
export interface Lease {
  kind?: string;
  message?: string;
  metadata?: { uid?: string; resourceVersion?: string; annotations?: Record<string, string> };
  spec?: { holderIdentity?: string };
  details?: { kind?: string };
}

export function parseLease(text: string): Lease | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' ? (value as Lease | null) : null;
  } catch {
    return null;
  }
}

/** What `kubectl get lease` shows. */
export function specOf({ holder, host, pid, ttl }: LeaseRecord): object {
  return {
    holderIdentity:
      holder === '' ? '' : host === undefined ? holder : pid === undefined ? host : `${host}:${pid}`,
    leaseDurationSeconds: Math.max(1, Math.ceil(ttl / 1000)),
    renewTime: new Date().toISOString().replace('Z', '000Z'),
  };
}

/** `answer`: the Status object, null where none came. `write`: it was the answer to one. */
export function kubernetesTrouble(
  { namespace, name, server, tokenFile }: KubernetesPlace,
  status: number,
  answer: Lease | null,
  write: boolean,
): LeaseIoError | LeaseConfigError {
  const place = `Kubernetes lease ${namespace}/${name} at ${server}`;
  const text = `${place}: ${answer?.message ?? `HTTP ${status}`}`;
  if (status === 401)
    return new LeaseConfigError(
      `${text}; the token ${tokenFile === null ? '(none was sent) ' : `in ${tokenFile} `}is not accepted`,
    );
  if (status === 403)
    return new LeaseConfigError(
      `${text}; let a Role grant it, in apiGroups coordination.k8s.io on resources leases: create, and for ${name}: get, update, watch`,
    );
  if (status === 429 || status === 410) return new LeaseIoError(text, false);
  if (status >= 500) return new LeaseIoError(text, write);
  return new LeaseConfigError(answer ? text : `${text}; that is no API of Kubernetes`);
}
