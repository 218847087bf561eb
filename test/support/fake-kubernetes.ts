// A stand-in for the Kubernetes API server: Leases in the namespaces `default` and `bots`, as strict as the real one about
// what a lease lives by. After the sources of Kubernetes 1.30 (registry/coordination/lease/strategy.go: no unconditional update,
// creation by PUT allowed; apiserver/pkg/registry/generic/registry/store.go):
//   POST    201, 409 AlreadyExists
//   GET     200, 404; `watch=1`: changes after resourceVersion, line by line; 410 within the stream where they are forgotten
//   PUT     200; 409 Conflict for another resourceVersion or uid, also where the Lease is gone; without a resourceVersion 422;
//           without a uid a Lease that is gone is made anew
//   DELETE  200, 404
//   401 without the token of this moment, 403 where the role does not allow it, 404 for namespaces that are not there
// `/fake/…` is for tests: see `Control`.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  createServer as createPlain,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
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
  /** Forgets the history: watches from before it are answered 410. */
  compact?: boolean;
  /** Ends every watch, as the server does after timeoutSeconds. */
  endWatches?: boolean;
}

export interface FakeKubernetes {
  readonly port: number;
  /** Method and path of each request, with the token it came with. */
  readonly requests: { method: string; url: string; token: string | undefined }[];
  control(settings: Control): void;
  close(): Promise<void>;
}

interface Stored {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace: string; uid: string; resourceVersion: string; [key: string]: unknown };
  spec?: { leaseDurationSeconds?: number; [key: string]: unknown };
}
interface Event {
  version: number;
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  object: Stored;
}
interface Watcher {
  response: ServerResponse;
  matches(lease: Stored): boolean;
}

const HEAD = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' };
const NAMESPACES = ['default', 'bots'];
const PATH = /^\/apis\/coordination\.k8s\.io\/v1\/namespaces\/([^/]+)\/leases(?:\/([^/]+))?$/;

/** `tls`: PEM texts; then it speaks HTTPS. */
export async function openFakeKubernetes(
  options: { port?: number; tls?: { key: string; cert: string } } = {},
): Promise<FakeKubernetes> {
  const leases = new Map<string, Stored>();
  const watchers = new Set<Watcher>();
  let history: Event[] = [];
  let version = 100;
  let forgottenUpTo = 0;
  let settings: Control = { token: null, denied: [], fail: null };
  const requests: FakeKubernetes['requests'] = [];

  function send(response: ServerResponse, status: number, body: object): void {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  }

  function refuse(
    response: ServerResponse,
    code: number,
    reason: string,
    message: string,
    details = {},
  ): void {
    const head = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure' };
    send(response, code, { ...head, message, reason, details, code });
  }

  function put(type: Event['type'], object: Stored): Stored {
    version++;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    const id = `${stored.metadata.namespace}/${stored.metadata.name}`;
    if (type === 'DELETED') leases.delete(id);
    else leases.set(id, stored);
    const event = { version, type, object: stored };
    history.push(event);
    for (const watcher of watchers) if (watcher.matches(stored)) tell(watcher, event);
    return stored;
  }

  function tell({ response }: Watcher, { type, object }: Pick<Event, 'type' | 'object'>): void {
    response.write(`${JSON.stringify({ type, object })}\n`);
  }

  function watch(
    request: IncomingMessage,
    response: ServerResponse,
    space: string,
    query: URLSearchParams,
  ): void {
    const field = /^metadata\.name=(.+)$/.exec(query.get('fieldSelector') ?? '')?.[1];
    const matches = (lease: Stored): boolean =>
      lease.metadata.namespace === space && (field === undefined || lease.metadata.name === field);
    const from = query.get('resourceVersion') ?? '';
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const watcher = { response, matches };
    if (from === '') {
      for (const object of leases.values()) if (matches(object)) tell(watcher, { type: 'ADDED', object });
    } else if (Number(from) < forgottenUpTo) {
      const status = { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' };
      response.end(`${JSON.stringify({ type: 'ERROR', object: status })}\n`);
      return;
    } else {
      for (const event of history)
        if (event.version > Number(from) && matches(event.object)) tell(watcher, event);
    }
    watchers.add(watcher);
    const timer = setTimeout(() => response.end(), Number(query.get('timeoutSeconds') ?? 1800) * 1000);
    request.on('close', () => clearTimeout(timer));
    response.on('close', () => {
      clearTimeout(timer);
      watchers.delete(watcher);
    });
  }

  function write(
    response: ServerResponse,
    method: string,
    space: string,
    name: string | undefined,
    text: string,
  ) {
    let sent: Stored;
    try {
      sent = JSON.parse(text) as Stored;
    } catch {
      return refuse(response, 400, 'BadRequest', 'the body is no JSON');
    }
    const { metadata, spec } = sent;
    const id = `${space}/${name ?? metadata?.name}`;
    const details = { name: name ?? metadata?.name, group: 'coordination.k8s.io', kind: 'leases' };
    const title = `leases.coordination.k8s.io "${details.name}"`;
    if (!metadata?.name || (name !== undefined && metadata.name !== name))
      return refuse(response, 400, 'BadRequest', 'the name of the object does not match the URL');
    if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(metadata.name) || !((spec?.leaseDurationSeconds ?? 1) > 0))
      return refuse(response, 422, 'Invalid', `${title} is invalid`, details);
    const present = leases.get(id);
    const fresh = (): Stored => ({
      ...sent,
      ...HEAD,
      metadata: { ...metadata, namespace: space, uid: randomUUID(), resourceVersion: '' },
    });
    if (method === 'POST') {
      if (metadata.resourceVersion)
        return refuse(
          response,
          400,
          'BadRequest',
          'resourceVersion should not be set on objects to be created',
        );
      if (present) return refuse(response, 409, 'AlreadyExists', `${title} already exists`, details);
      return send(response, 201, put('ADDED', fresh()));
    }
    const conflict = (why: string) =>
      refuse(response, 409, 'Conflict', `Operation cannot be fulfilled on ${title}: ${why}`, details);
    if (!present) {
      if (metadata.uid)
        return conflict(`Precondition failed: UID in precondition: ${metadata.uid}, UID in object meta: `);
      return send(response, 201, put('ADDED', fresh()));
    }
    if (metadata.uid && metadata.uid !== present.metadata.uid)
      return conflict(
        `Precondition failed: UID in precondition: ${metadata.uid}, UID in object meta: ${present.metadata.uid}`,
      );
    if (!metadata.resourceVersion)
      return refuse(
        response,
        422,
        'Invalid',
        `${title} is invalid: metadata.resourceVersion: must be specified for an update`,
        details,
      );
    if (metadata.resourceVersion !== present.metadata.resourceVersion)
      return conflict(
        'the object has been modified; please apply your changes to the latest version and try again',
      );
    send(
      response,
      200,
      put('MODIFIED', {
        ...sent,
        ...HEAD,
        metadata: { ...metadata, namespace: space, uid: present.metadata.uid },
      }),
    );
  }

  async function answer(request: IncomingMessage, response: ServerResponse) {
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
    if (settings.fail)
      return refuse(response, settings.fail, 'Failure', `told to fail with ${settings.fail}`);
    if (settings.token && token !== settings.token)
      return refuse(response, 401, 'Unauthorized', 'Unauthorized');
    const [, space, name] = PATH.exec(url.pathname) ?? [];
    if (space === undefined) {
      response.writeHead(404, { 'content-type': 'text/plain' });
      response.end('404 page not found\n');
      return;
    }
    const isWatch = method === 'GET' && url.searchParams.get('watch') === '1';
    const verbs: Record<string, string> = {
      POST: 'create',
      PUT: 'update',
      DELETE: 'delete',
      GET: isWatch ? 'watch' : 'get',
    };
    const verb = verbs[method] ?? method;
    const details = { name, group: 'coordination.k8s.io', kind: 'leases' };
    if (settings.denied?.includes(verb))
      return refuse(
        response,
        403,
        'Forbidden',
        `leases.coordination.k8s.io is forbidden: User "system:serviceaccount:${space}:bot" cannot ${verb} resource "leases" in API group "coordination.k8s.io" in the namespace "${space}"`,
        details,
      );
    if (isWatch) return watch(request, response, space, url.searchParams);
    const present = leases.get(`${space}/${name}`);
    if (method === 'GET' || method === 'DELETE') {
      if (!present)
        return refuse(response, 404, 'NotFound', `leases.coordination.k8s.io "${name}" not found`, details);
      return send(response, 200, method === 'GET' ? present : put('DELETED', present));
    }
    if (!NAMESPACES.includes(space))
      return refuse(response, 404, 'NotFound', `namespaces "${space}" not found`, {
        name: space,
        kind: 'namespaces',
      });
    write(response, method, space, name, text);
  }

  function control(next: Control): void {
    settings = { ...settings, ...next };
    if (next.compact) {
      forgottenUpTo = version + 1;
      history = [];
    }
    if (next.endWatches || next.compact) for (const { response } of watchers) response.end();
  }

  const handler = (request: IncomingMessage, response: ServerResponse): void => {
    answer(request, response).catch(() => response.destroy());
  };
  const server: Server = options.tls ? createSecure(options.tls, handler) : createPlain(handler);
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    control,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
