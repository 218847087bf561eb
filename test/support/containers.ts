/** Containers by podman, in a network of their own where the test's Bot API listens at port 9000, and with a storage of the tests' own. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { bed, type Finished, fixture } from './bed.ts';
import { relayToPort } from './socket-relay.ts';
import { until } from './wait.ts';

const CONF = fixture('containers');
/** Of the default network of podman. */
const GATEWAY = '10.88.0.1';
export const API = { host: 'http://127.0.0.1:9000', bridge: `http://${GATEWAY}:9000` };

export const CONTAINER_ENV = {
  CONTAINERS_CONF: join(CONF, 'containers.conf'),
  CONTAINERS_STORAGE_CONF: join(CONF, 'storage.conf'),
  CONTAINERS_REGISTRIES_CONF: join(CONF, 'registries.conf'),
  BUILDAH_ISOLATION: 'chroot',
  BUILDAH_FORMAT: 'docker',
};

export type World = Awaited<ReturnType<typeof openWorld>>;

export async function openWorld(t: TestContext) {
  assert.ok(process.getuid?.() === 0, 'containers take root');
  assert.ok(existsSync('/var/cache/singlepoll-test/images-1'), 'images are missing: npm run test:setup');
  const names: string[] = [];
  // Before the bed ends the processes: podman has to see its own go.
  t.after(async () => {
    if (names.length > 0) await tries('rm', '--force', '--time', '0', ...names);
    const deleted = () =>
      spawnSync('ip', ['netns', 'delete', network]).status !== null && !existsSync(`/run/netns/${network}`);
    await until('the network to be gone', deleted);
  });
  const b = await bed(t);
  const network = `sp-${b.cookie.slice(0, 8)}`;
  for (const words of [
    ['netns', 'add', network],
    ['-n', network, 'link', 'set', 'lo', 'up'],
    // Else podman's bridge has the lowest address of its containers, and once that one has gone the others miss it for up to a minute.
    ['-n', network, 'link', 'add', 'podman0', 'address', '02:00:00:00:00:01', 'type', 'bridge'],
    ['-n', network, 'address', 'add', `${GATEWAY}/16`, 'dev', 'podman0'],
    ['-n', network, 'link', 'set', 'podman0', 'up'],
  ])
    await b.spawn('ip', words).ends(0);
  const enter = [`--net=/run/netns/${network}`, '--'];
  const env = { ...CONTAINER_ENV, HOME: join(b.dir, 'home') };

  /** Another Bot API in the network. */
  function relay({ port }: { readonly port: number }, at: number): void {
    const socket = join(b.dir, `api-${at}`);
    const way = relayToPort(socket, port);
    t.after(() => way.close());
    const words = [process.execPath, fixture('relay-to-socket.mjs'), socket, String(at), '0.0.0.0'];
    b.spawn('nsenter', [...enter, ...words]);
  }
  relay(b.sandbox, 9000);

  /** Runs a program in the network of the containers. */
  async function within(
    file: string,
    words: readonly string[],
    { cwd = b.project, ms }: { cwd?: string; ms?: number } = {},
  ): Promise<Finished> {
    const begin = performance.now();
    const ran = b.spawn('nsenter', [...enter, file, ...words], { env, cwd });
    const exit = await ran.exit(ms);
    const [stdout, stderr] = [ran.stdout(), ran.stderr().replace(/^time=.*systemd connection.*\n/gm, '')];
    return { ...exit, stdout, stderr, text: stdout + stderr, ms: performance.now() - begin };
  }
  /** `podman …`, however it ends. */
  const tries = (...words: readonly string[]) => within('podman', words);
  /** The same; must end with 0. Gives what it printed. */
  const podman = async (...words: readonly string[]) => {
    const done = await tries(...words);
    assert.equal(done.code, 0, `podman ${words.join(' ')}\n${done.text}`);
    return done.text;
  };
  const logs = (name: string) => podman('logs', name);
  return {
    ...{ b, within, tries, podman, logs, relay },
    /** The options that configure the bot of the test. */
    bot: ['--env', `TELEGRAM_BOT_TOKEN=${b.token}`],
    /** Starts a container, which gets a name of its own. */
    async run(options: readonly string[], image: string, ...command: readonly string[]) {
      const name = `${network}-${names.length}`;
      names.push(name);
      // By it the runner ends what a test leaves behind.
      const mark = ['--env', `SP_TEST_RUN=${process.env.SP_TEST_RUN ?? b.cookie}`];
      await podman('run', '--detach', '--name', name, ...mark, ...options, image, ...command);
      return name;
    },
    /** Waits until its log matches. */
    async says(name: string, pattern: RegExp): Promise<void> {
      let last = '';
      const look = async () => {
        last = await logs(name);
        return pattern.test(last);
      };
      await until(`${name} to say ${pattern}`, look, { seen: () => last });
    },
  };
}

/** Builds an image; nothing is pulled. */
export async function build(folder: string, file: string, tag: string, target?: string): Promise<void> {
  const { launch } = await import('./cli.ts');
  const words = [
    'bud',
    '--network',
    'host',
    '--pull-never',
    '--tag',
    tag,
    '--file',
    file,
    ...(target ? ['--target', target] : []),
    folder,
  ];
  const env = { ...CONTAINER_ENV, PATH: process.env.PATH ?? '', HOME: folder };
  await launch('buildah', words, { cwd: folder, env }).ends(0, 120_000);
}
