/**
 * What a request to the gateway asks for, and whether it may: only the worker's own token opens anything, only in the forms
 * that the Bot API server knows, and only from programs (a web page that has found the port names itself by Host or Origin).
 * Pure. Paths are decoded first, as the server does, and written anew for upstream, so that no spelling passes unseen.
 */
import { routeOf, splitTarget } from './params.ts';

export type Target =
  | {
      readonly kind: 'call';
      /** Lower case; empty: the parameter `method` names it. */
      readonly method: string;
      /** `/test` or nothing, behind the token. */
      readonly environment: string;
      /** Behind token and environment, with its slash; without the query. */
      readonly rest: string;
      /** With its question mark, as it came; or nothing. */
      readonly query: string;
    }
  | { readonly kind: 'file'; readonly environment: string; readonly rest: string; readonly query: string }
  | {
      readonly kind: 'refused';
      readonly status: number;
      readonly description: string;
      /** The wrong token that was named. */
      readonly token?: string;
    };

export interface Head {
  readonly method: string;
  readonly target: string;
  readonly host: string | undefined;
  readonly origin: string | undefined;
}

const refused = (status: number, description: string): Target => ({ kind: 'refused', status, description });

/** `token`: the worker's. `port`: the gateway's own. */
export function targetOf({ method, target, host, origin }: Head, token: string, port: number): Target {
  if (method !== 'GET' && method !== 'POST') return refused(501, '');
  if (!isLoopbackHost(host, port))
    return refused(421, 'Misdirected Request: this is the gateway of singlepoll');
  if (origin !== undefined)
    return refused(403, 'Forbidden: the gateway of singlepoll does not serve web pages');
  const { path, query } = splitTarget(target);
  const route = routeOf(path);
  if (route.kind === 'none' || route.kind === 'control') return refused(404, 'Not Found');
  if (route.token !== token)
    return { kind: 'refused', status: 401, description: 'Unauthorized', token: route.token };
  const rest = { environment: route.test ? '/test' : '', query: query === '' ? '' : `?${query}` };
  if (route.kind === 'file') {
    if (route.path.split('/').some((part) => part === '..' || part === '.')) return refused(404, 'Not Found');
    return { kind: 'file', rest: `/${route.path.split('/').map(encodeURIComponent).join('/')}`, ...rest };
  }
  if (!/^\w*$/.test(route.method)) return refused(404, 'Not Found: method not found');
  return { kind: 'call', method: route.method.toLowerCase(), rest: `/${route.method}`, ...rest };
}

/** Absent only in HTTP/1.0 (Node turns a later request without one away). */
function isLoopbackHost(host: string | undefined, port: number): boolean {
  if (host === undefined) return true;
  const match = /^(.*?)(?::(\d+))?$/.exec(host.trim().toLowerCase());
  const name = match?.[1] ?? '';
  if (match?.[2] !== undefined && Number(match[2]) !== port) return false;
  return name === 'localhost' || name === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(name);
}
