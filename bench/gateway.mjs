// What stands around the gateway while it is measured: a running `singlepoll start` whose worker is the load generator
// (probes/load.mjs), as only the worker's tree may poll through the gateway; and the Bot APIs that it is measured before.
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../test/support/strays.ts';
import { until } from '../test/support/wait.ts';
import { contestant } from './contestants.mjs';
import { launch, newFolder, TOKEN } from './scene.mjs';

const probe = (name) => join(import.meta.dirname, 'probes', name);

/** The root of the Bot API of probes/api.mjs in a process of its own. */
export async function openLeanApi() {
  const { stdout } = launch('node', [probe('api.mjs'), TOKEN.split(':')[0]]);
  const [port] = await once(stdout, 'data');
  return `http://127.0.0.1:${Number(port)}`;
}

/** What the load generator has measured behind the gateway that stands before the API at `root`. */
export async function measureBehindGateway(root, words) {
  const command = ['node', probe('load.mjs'), ...words.map(String)];
  const bot = { apiRoot: root, token: TOKEN };
  const supervisor = contestant('singlepoll', bot, { command, options: ['--restart', 'never'] });
  supervisor.launch();
  await supervisor.ended();
  const output = readFileSync(supervisor.output, 'utf8');
  try {
    return JSON.parse(output);
  } catch {
    throw new Error(`no result: ${supervisor.said()}${output}`);
  }
}

/**
 * Debian's nginx, one worker process: the cheapest Bot API there is, whose answers stand in the configuration, and before that a reverse
 * proxy with kept-alive connections, the yardstick.
 */
export async function openNginx() {
  const home = newFolder('nginx');
  const [api, proxy] = [await freePort(), await freePort()];
  const me = { id: Number(TOKEN.split(':')[0]), is_bot: true, first_name: 'Bench', username: 'bench_bot' };
  const answer = (result) => `return 200 '${JSON.stringify({ ok: true, result })}';`;
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const file = join(home, 'nginx.conf');
  writeFileSync(
    file,
    `worker_processes 1; daemon off; pid ${join(home, 'pid')}; ${process.getuid() === 0 ? 'user root;' : ''}
    events { worker_connections 512; }
    http { access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; default_type application/json;
      ${folders.map((kind) => `${kind}_temp_path ${join(home, kind)};`).join(' ')}
      server { listen 127.0.0.1:${api};
        location = /bot${TOKEN}/getMe { ${answer(me)} }
        location = /bot${TOKEN}/getWebhookInfo { ${answer({ url: '', pending_update_count: 0 })} }
        location / { ${answer(true)} } }
      upstream api { server 127.0.0.1:${api}; keepalive 64; keepalive_requests 1000000000; }
      server { listen 127.0.0.1:${proxy}; location / {
        proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; } } }`,
  );
  const variables = { PATH: `${process.env.PATH}:/usr/sbin` };
  launch('nginx', ['-p', home, '-e', join(home, 'errors'), '-c', file], { variables });
  const root = (port) => `http://127.0.0.1:${port}`;
  await until('nginx', () => fetch(`${root(proxy)}/x`).catch(() => null));
  return { api: root(api), proxy: root(proxy) };
}
