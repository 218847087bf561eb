// A stand-in for the Kubernetes API server: Leases in the namespaces `default` and `bots`, as strict as the real one about
// what a lease lives by. After the sources of Kubernetes 1.30 (registry/coordination/lease/strategy.go: no unconditional update,
// creation by PUT allowed; apiserver/pkg/registry/generic/registry/store.go):
//   POST    201, 409 AlreadyExists
//   GET     200, 404; `watch=1`: changes after resourceVersion, line by line; 410 within the stream where they are forgotten;
//           bookmarks go only to a watch with allowWatchBookmarks (storage/cacher/cache_watcher.go), which is refused here
//   PUT     200; 409 Conflict for another resourceVersion or uid, also where the Lease is gone; without a resourceVersion 422;
//           without a uid a Lease that is gone is made anew
//   DELETE  200, 404
//   401 without the token of this moment, 403 where the role does not allow it, 404 for namespaces that are not there
// `/fake/…` is for tests: see `Control`.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createPlain, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecure } from 'node:https';
import type { AddressInfo } from 'node:net';

/** POST /fake/control takes any of these. */
export interface Control {
  /** Null: any or none is good. */
  token?: string | null;
  /** Verbs that the role does not allow. */
  denied?: string[];
  /** Answers every call with this status. */
  fail?: number | null;
  /** Ends every watch, as the server does after timeoutSeconds. */
  endWatches?: boolean;
  /** Tells every watch that its changes are forgotten (etcd was compacted), and leaves the connection open. */
  expireWatches?: boolean;
}

export type FakeKubernetes = Awaited<ReturnType<typeof openFakeKubernetes>>;

interface Stored {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace: string; uid: string; resourceVersion: string; [key: string]: unknown };
  spec?: { leaseDurationSeconds?: number; [key: string]: unknown };
}
interface Event {
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  object: Stored;
}
interface Watcher {
  response: ServerResponse;
  matches(lease: Stored): boolean;
}

const GROUP = 'coordination.k8s.io';
const HEAD = { apiVersion: `${GROUP}/v1`, kind: 'Lease' };
const NAMESPACES = ['default', 'bots'];
const PATH = /^\/apis\/coordination\.k8s\.io\/v1\/namespaces\/([^/]+)\/leases(?:\/([^/]+))?$/;
const REASONS: Readonly<Record<number, string>> = {
  ...{ 400: 'BadRequest', 401: 'Unauthorized', 403: 'Forbidden', 404: 'NotFound' },
  ...{ 409: 'Conflict', 422: 'Invalid' },
};

const STATUS = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure' };

/** A Status object in the place of an answer. */
class Refusal extends Error {
  constructor(
    readonly code: number,
    message: string,
    readonly details: object = {},
    readonly reason = REASONS[code] ?? 'Failure',
  ) {
    super(message);
  }
}

/** `tls`: PEM texts; then it speaks HTTPS. */
export async function openFakeKubernetes(
  options: { port?: number; tls?: { key: string; cert: string } } = {},
) {
  const leases = new Map<string, Stored>();
  const watchers = new Set<Watcher>();
  let version = 100;
  let settings: Control = { token: null, denied: [], fail: null };
  /** Method and path of each request, with the token it came with. */
  const requests: { method: string; url: string; token: string | undefined }[] = [];

  function send(response: ServerResponse, status: number, body: object): void {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  }

  function put(type: Event['type'], object: Stored): Stored {
    version++;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    const id = `${stored.metadata.namespace}/${stored.metadata.name}`;
    if (type === 'DELETED') leases.delete(id);
    else leases.set(id, stored);
    for (const watcher of watchers) if (watcher.matches(stored)) tell(watcher, { type, object: stored });
    return stored;
  }

  function tell({ response }: Watcher, { type, object }: Event): void {
    response.write(`${JSON.stringify({ type, object })}\n`);
  }

  function watch(response: ServerResponse, space: string, query: URLSearchParams): void {
    const field = /^metadata\.name=(.+)$/.exec(query.get('fieldSelector') ?? '')?.[1];
    const matches = ({ metadata }: Stored): boolean =>
      metadata.namespace === space && (field === undefined || metadata.name === field);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const watcher = { response, matches };
    for (const object of leases.values()) if (matches(object)) tell(watcher, { type: 'ADDED', object });
    watchers.add(watcher);
    const timer = setTimeout(() => response.end(), Number(query.get('timeoutSeconds') ?? 1800) * 1000);
    response.on('close', () => {
      clearTimeout(timer);
      watchers.delete(watcher);
    });
  }

  function write(method: string, space: string, name: string | undefined, text: string): [number, Stored] {
    const sent = JSON.parse(text) as Stored;
    const { metadata, spec } = sent;
    const { uid, resourceVersion } = metadata ?? {};
    const details = { name: name ?? metadata?.name, group: GROUP, kind: 'leases' };
    const title = `leases.${GROUP} "${details.name}"`;
    if (!metadata?.name || (name !== undefined && metadata.name !== name))
      throw new Refusal(400, 'the name of the object does not match the URL');
    if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(metadata.name) || !((spec?.leaseDurationSeconds ?? 1) > 0))
      throw new Refusal(422, `${title} is invalid`, details);
    const present = leases.get(`${space}/${metadata.name}`);
    const as = (id: string): Stored => ({
      ...{ ...sent, ...HEAD },
      metadata: { ...metadata, namespace: space, uid: id, resourceVersion: '' },
    });
    if (method === 'POST') {
      if (resourceVersion)
        throw new Refusal(400, 'resourceVersion should not be set on objects to be created');
      if (present) throw new Refusal(409, `${title} already exists`, details, 'AlreadyExists');
      return [201, put('ADDED', as(randomUUID()))];
    }
    const conflict = (why: string) =>
      new Refusal(409, `Operation cannot be fulfilled on ${title}: ${why}`, details);
    if (uid && uid !== present?.metadata.uid)
      throw conflict(
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${present?.metadata.uid ?? ''}`,
      );
    if (!present) return [201, put('ADDED', as(randomUUID()))];
    if (!resourceVersion)
      throw new Refusal(
        422,
        `${title} is invalid: metadata.resourceVersion: must be specified for an update`,
        details,
      );
    if (resourceVersion !== present.metadata.resourceVersion)
      throw conflict(
        'the object has been modified; please apply your changes to the latest version and try again',
      );
    return [200, put('MODIFIED', as(present.metadata.uid))];
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET' } = request;
    const url = new URL(request.url ?? '/', 'http://fake');
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    if (url.pathname === '/fake/control') {
      control(JSON.parse(text) as Control);
      return send(response, 200, {});
    }
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    requests.push({ method, url: request.url ?? '', token });
    if (settings.fail) throw new Refusal(settings.fail, `told to fail with ${settings.fail}`);
    if (settings.token && token !== settings.token) throw new Refusal(401, 'Unauthorized');
    const [, space, name] = PATH.exec(url.pathname) ?? [];
    if (space === undefined) {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found\n');
      return;
    }
    const isWatch = method === 'GET' && url.searchParams.get('watch') === '1';
    const verbs = { POST: 'create', PUT: 'update', DELETE: 'delete', GET: isWatch ? 'watch' : 'get' };
    const verb = verbs[method as keyof typeof verbs] ?? method;
    const details = { name, group: GROUP, kind: 'leases' };
    if (settings.denied?.includes(verb))
      throw new Refusal(
        403,
        `leases.${GROUP} is forbidden: User "system:serviceaccount:${space}:bot" cannot ${verb} resource "leases" in API group "${GROUP}" in the namespace "${space}"`,
        details,
      );
    if (url.searchParams.has('allowWatchBookmarks')) throw new Refusal(400, 'no bookmarks here');
    if (isWatch) return watch(response, space, url.searchParams);
    if (method === 'GET' || method === 'DELETE') {
      const present = leases.get(`${space}/${name}`);
      if (!present) throw new Refusal(404, `leases.${GROUP} "${name}" not found`, details);
      return send(response, 200, method === 'GET' ? present : put('DELETED', present));
    }
    if (!NAMESPACES.includes(space))
      throw new Refusal(404, `namespaces "${space}" not found`, { name: space, kind: 'namespaces' });
    send(response, ...write(method, space, name, text));
  }

  function control(next: Control): void {
    settings = { ...settings, ...next };
    if (next.endWatches) for (const { response } of watchers) response.end();
    // apiserver/pkg/storage/etcd3/errors.go, interpretWatchError.
    const message = 'The resourceVersion for the provided watch is too old.';
    const expired = { ...STATUS, message, reason: 'Expired', code: 410 };
    if (next.expireWatches)
      for (const { response } of watchers)
        response.write(`${JSON.stringify({ type: 'ERROR', object: expired })}\n`);
  }

  const handler = (request: IncomingMessage, response: ServerResponse): void => {
    answer(request, response).catch((error: unknown) => {
      if (!(error instanceof Refusal)) return response.destroy();
      const { code, message, reason, details } = error;
      send(response, code, { ...STATUS, message, reason, details, code });
    });
  };
  const server = options.tls ? createSecure(options.tls, handler) : createPlain(handler);
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    control,
    async close(): Promise<void> {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
