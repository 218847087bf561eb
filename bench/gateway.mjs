// A running `singlepoll start` whose worker is the load generator (probes/load.mjs): only the worker's tree may poll through
// the gateway, so the load comes from there, for every contestant alike.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { contestant } from './contestants.mjs';
import { begin, endAndWait, environment, newFolder, TOKEN } from './scene.mjs';

const probe = (name) => join(import.meta.dirname, 'probes', name);

/** The Bot API of probes/api.mjs in a process of its own. */
export async function openLeanApi() {
  const home = newFolder('api');
  const child = begin('node', [probe('api.mjs'), TOKEN.split(':')[0]], {
    env: environment(home),
    cwd: home,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const port = await new Promise((resolve) => child.stdout.once('data', (chunk) => resolve(Number(chunk))));
  return { root: `http://127.0.0.1:${port}`, close: () => endAndWait(child.pid) };
}

/**
 * Starts singlepoll with its load generator before the API at `root`. `order(name, details)` has it carried out there;
 * `gateway` is the root that the worker was given.
 */
export async function openGateway(root) {
  const home = newFolder('gateway');
  const control = join(home, 'control');
  const server = createServer();
  const connected = new Promise((resolve) => server.once('connection', resolve));
  await new Promise((resolve) => server.listen(control, resolve));
  const supervisor = contestant(
    'singlepoll',
    { apiRoot: root, token: TOKEN },
    {
      command: ['node', probe('load.mjs')],
      options: ['--restart', 'never'],
      variables: { BENCH_CONTROL: control },
    },
  );
  supervisor.launch();
  const failed = supervisor.ended().then(() => {
    const output = existsSync(supervisor.output) ? readFileSync(supervisor.output, 'utf8') : '';
    throw new Error(`singlepoll ended: ${supervisor.said()}${output}`);
  });
  failed.catch(() => {});
  const worker = await Promise.race([connected, failed]);
  const lines = createInterface({ input: worker })[Symbol.asyncIterator]();
  const next = async () => {
    const { value } = await Promise.race([lines.next(), failed]);
    return JSON.parse(value ?? (await failed));
  };
  const { gateway } = await next();
  if (gateway === root)
    throw new Error('the worker was given the API itself: there is no gateway to measure');
  return {
    gateway,
    order(name, details) {
      worker.write(`${JSON.stringify({ order: name, ...details })}\n`);
      return next();
    },
    async close() {
      await supervisor.close();
      server.close();
    },
  };
}

// Debian's nginx, one worker process: the yardstick for a reverse proxy, and the cheapest Bot API there is.

/** Answers getMe and getWebhookInfo of this bot, and `true` to anything else, all from its configuration. */
export function openConstantApi(token) {
  const me = { id: Number(token.split(':')[0]), is_bot: true, first_name: 'Bench', username: 'bench_bot' };
  const constant = (result) => `return 200 '${JSON.stringify({ ok: true, result })}';`;
  return open(
    (port) => `server { listen 127.0.0.1:${port}; default_type application/json;
      location = /bot${token}/getMe { ${constant(me)} }
      location = /bot${token}/getWebhookInfo { ${constant({ url: '', pending_update_count: 0 })} }
      location / { ${constant(true)} } }`,
  );
}

/** A reverse proxy with kept-alive connections to `root`. */
export function openProxy(root) {
  return open(
    (port) => `upstream api { server ${new URL(root).host}; keepalive 64; keepalive_requests 1000000000; }
      server { listen 127.0.0.1:${port}; location / {
        proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; } }`,
  );
}

async function open(configuration) {
  const home = newFolder('nginx');
  const file = join(home, 'nginx.conf');
  const port = await freePort();
  const own = ['body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind === 'body' ? 'client_body' : kind}_temp_path ${join(home, kind)};`,
  );
  writeFileSync(
    file,
    `worker_processes 1; daemon off; pid ${join(home, 'pid')}; ${process.getuid() === 0 ? 'user root;' : ''}
    events { worker_connections 512; }
    http { access_log off; client_max_body_size 0; keepalive_requests 1000000000; keepalive_timeout 1h; ${own.join(' ')}
      ${configuration(port)} }`,
  );
  const PATH = `${process.env.PATH}:/usr/sbin`;
  const child = begin('nginx', ['-p', home, '-e', join(home, 'errors'), '-c', file], {
    env: environment(home, { PATH }),
    cwd: home,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  while (!(await answers(port))) await sleep(10);
  return { root: `http://127.0.0.1:${port}`, close: () => endAndWait(child.pid) };
}

/** nginx must be told a port. */
function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const answers = (port) =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
