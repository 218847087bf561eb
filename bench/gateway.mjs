// A running `singlepoll start` whose worker is the load generator (probes/load.mjs): only the worker's tree may poll through
// the gateway, so the load comes from there, for every contestant alike.
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { begin, endAndWait, environment, newFolder } from './scene.mjs';
import * as singlepoll from './supervisors/singlepoll.mjs';

export const TOKEN = '7312345678:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1';
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
 * `gateway` is the root that the worker was given; `pid` the supervisor's.
 */
export async function openGateway(root) {
  const home = newFolder('gateway');
  const control = join(home, 'control');
  const server = createServer();
  const connected = new Promise((resolve) => server.once('connection', resolve));
  await new Promise((resolve) => server.listen(control, resolve));
  const supervisor = singlepoll.create({
    home,
    env: environment(home, {
      TELEGRAM_API_ROOT: root,
      TELEGRAM_BOT_TOKEN: TOKEN,
      BENCH_CONTROL: control,
    }),
    command: ['node', probe('load.mjs')],
    options: ['--restart', 'never'],
    output: join(home, 'output'),
  });
  await supervisor.launch();
  const failed = supervisor.ended().then(() => {
    const output = existsSync(join(home, 'output')) ? readFileSync(join(home, 'output'), 'utf8') : '';
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
    pid: supervisor.pid(),
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
