// Real engines for leases, from Debian's packages (Kubernetes: the stand-in), each a process of the test on a free port with a
// folder of its own. They die with the process that started them, whatever becomes of it (setpriv --pdeathsig).
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { readProc } from './proc.ts';
import { freePort } from './strays.ts';
import { until } from './wait.ts';

export type EngineName = 'redis' | 'postgres' | 'etcd' | 'kubernetes';
export const ENGINES: readonly EngineName[] = ['redis', 'postgres', 'etcd', 'kubernetes'];

export type Engine = Awaited<ReturnType<typeof openEngine>>;

interface EngineOptions {
  /** More arguments, or settings `name=value` of PostgreSQL. */
  settings?: readonly string[];
  /** More environment of its server. */
  env?: Record<string, string>;
  /** Does not start it yet. */
  idle?: boolean;
}

interface Kind {
  /** User to run as, where we are root. */
  user?: string;
  prepare?(dir: string): Promise<void>;
  command(dir: string, port: number, settings: readonly string[]): string[];
  ready(port: number): Promise<boolean>;
  url(port: number): string;
  peek(port: number, botId: number): Promise<string | null>;
  put(port: number, botId: number, text: string): Promise<void>;
  wipe(port: number, botId: number): Promise<void>;
}

const run = promisify(execFile);

export async function openEngine(name: EngineName, options: EngineOptions = {}) {
  const kind = KINDS[name];
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), `sp-${name}-`));
  const ids = kind.user !== undefined && process.getuid?.() === 0 ? idsOf(kind.user) : null;
  if (ids) chownSync(dir, ids.uid, ids.gid);
  let child: ChildProcess | null = null;
  let log = '';

  const self = {
    name,
    port,
    dir,
    get pid(): number {
      if (child?.pid === undefined) throw new Error(`${name} does not run`);
      return child.pid;
    },
    /** Where its clients find it. Another port leads through a proxy. */
    url: (other = port) => kind.url(other),
    /** The record's text as it stands there, null where there is none. */
    peek: (botId: number) => kind.peek(port, botId),
    /** Writes a text in the record's place, whatever stands there. */
    put: (botId: number, text: string) => kind.put(port, botId, text),
    /** Removes the record, as a wiped engine has none. */
    wipe: (botId: number) => kind.wipe(port, botId),
    /** SIGSTOP and, by `resume`, SIGCONT, of every process it has. */
    async pause() {
      const pids = familyOf(self.pid);
      signal(pids, 'SIGSTOP');
      await until(`${name} to stand still`, () =>
        pids.every((pid) => 'TtZ'.includes(readProc(pid)?.state ?? 'Z')),
      );
    },
    resume() {
      signal(familyOf(self.pid), 'SIGCONT');
    },
    /** SIGKILL; what was acknowledged is there after `start`, except with the Kubernetes stand-in. */
    async kill() {
      const ended = child;
      if (!ended) return;
      const pids = familyOf(self.pid);
      signal(pids, 'SIGKILL');
      // A zombie may have threads that still live, and its port with them; Node hears of an end only when the last one is gone.
      await until(
        `${name} to be gone`,
        () =>
          pids.every((pid) => !'RSDTtW'.includes(readProc(pid)?.state ?? 'X')) &&
          (ended.exitCode !== null || ended.signalCode !== null),
      );
      child = null;
      if (name === 'postgres') rmSync(join(dir, 'data', 'postmaster.pid'), { force: true });
    },
    async start() {
      const [file = '', ...args] = kind.command(dir, port, options.settings ?? []);
      const as = ids ? [`--reuid=${ids.uid}`, `--regid=${ids.gid}`, '--clear-groups'] : [];
      child = spawn('setpriv', ['--pdeathsig', 'KILL', ...as, '--', file, ...args], {
        cwd: dir,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LANG: 'C.UTF-8', ...options.env },
      });
      for (const stream of [child.stdout, child.stderr])
        stream?.on('data', (text: Buffer) => {
          log = (log + text.toString()).slice(-20_000);
        });
      const started = child;
      await until(
        `${name} to answer`,
        () => {
          if (started.exitCode !== null) throw new Error(`${name} has ended:\n${log}`);
          return kind.ready(port).catch(() => false);
        },
        { ms: 30_000, everyMs: 30, seen: () => log },
      );
    },
    /** Ends it and removes its folder. */
    async close() {
      try {
        await self.kill();
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    },
  };
  try {
    await kind.prepare?.(dir);
    if (ids) await run('chown', ['-R', `${ids.uid}:${ids.gid}`, dir]);
    if (!options.idle) await self.start();
  } catch (error) {
    await self.close();
    throw error;
  }
  return self;
}

/** One that the tests of a file share. */
export async function fileEngine(name: EngineName, options?: EngineOptions): Promise<Engine> {
  const engine = await openEngine(name, options);
  after(() => engine.close());
  return engine;
}

/** Of user accounts that Debian's packages make. */
function idsOf(user: string): { uid: number; gid: number } {
  const line = readFileSync('/etc/passwd', 'utf8').match(new RegExp(`^${user}:[^:]*:(\\d+):(\\d+):`, 'm'));
  if (!line) throw new Error(`no user ${user}: test/debian-packages.txt is not installed`);
  return { uid: Number(line[1]), gid: Number(line[2]) };
}

/** Some of them may have ended by themselves since they were listed. */
function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/** A process and all below it. */
function familyOf(pid: number): number[] {
  const all = readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => readProc(Number(entry)));
  const found = [pid];
  for (const parent of found) for (const proc of all) if (proc?.ppid === parent) found.push(proc.pid);
  return found;
}

export const PG_PASSWORD = 'wachtwoord & co';
export const pgBin = (program: string): string => {
  const [newest] = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a));
  return `/usr/lib/postgresql/${newest}/bin/${program}`;
};

/** Runs SQL as the superuser; gives unaligned rows. */
export async function sql(port: number, text: string, database = 'postgres'): Promise<string> {
  const { stdout } = await run('psql', ['-X', '-qAt', '-v', 'ON_ERROR_STOP=1', '-c', text], {
    env: {
      ...{ PATH: process.env.PATH, LANG: 'C.UTF-8', PGHOST: '127.0.0.1', PGPORT: String(port) },
      ...{ PGUSER: 'postgres', PGPASSWORD: PG_PASSWORD, PGDATABASE: database },
    },
  });
  return stdout.replace(/\n$/, '');
}

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** One command to Redis; gives the answer's first line, and of a string its text. */
export function redisCommand(port: number, ...words: string[]): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let answer = Buffer.alloc(0);
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    socket.on('connect', () => socket.write(`*${words.length}\r\n${parts.join('')}`));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`redis closed the connection at ${words[0]}`)));
    socket.on('data', (chunk) => {
      answer = Buffer.concat([answer, chunk]);
      const end = answer.indexOf('\r\n');
      if (end < 0) return;
      const head = answer.subarray(0, end).toString();
      const size = Number(head.slice(1));
      if (head[0] === '$' && size >= 0 && answer.length < end + 4 + size) return;
      socket.removeAllListeners('close');
      socket.destroy();
      if (head[0] === '-') reject(new Error(head.slice(1)));
      else
        resolve(
          head[0] === '$' ? (size < 0 ? null : answer.subarray(end + 2, end + 2 + size).toString()) : head,
        );
    });
  });
}

export async function etcdCall(port: number, path: string, body: object): Promise<Record<string, unknown>> {
  const answer = await fetch(`http://127.0.0.1:${port}/v3/${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
  });
  return (await answer.json()) as Record<string, unknown>;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const keyOf = (botId: number): string => `singlepoll/${botId}`;

const LEASES = '/apis/coordination.k8s.io/v1/namespaces/bots/leases';

/** A call to the stand-in; null for 404. */
export async function kubernetesCall(
  port: number,
  method: string,
  path: string,
  body?: object,
): Promise<Record<string, never> | null> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    ...(body && { body: JSON.stringify(body) }),
  });
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Record<string, never>;
}

interface Annotated {
  metadata: { annotations?: Record<string, string>; resourceVersion?: string };
}

const KINDS: Record<EngineName, Kind> = {
  redis: {
    command: (dir, port, settings) => [
      'redis-server',
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', ''],
      ...['--appendonly', 'yes', '--appendfsync', 'always', ...settings],
    ],
    ready: (port) =>
      redisCommand(port, 'PING').then(
        () => true,
        (error: Error) => error.message.startsWith('NOAUTH'),
      ),
    url: (port) => `redis://127.0.0.1:${port}`,
    peek: (port, botId) => redisCommand(port, 'GET', keyOf(botId)),
    put: async (port, botId, text) => void (await redisCommand(port, 'SET', keyOf(botId), text)),
    wipe: async (port, botId) => void (await redisCommand(port, 'DEL', keyOf(botId))),
  },
  postgres: {
    user: 'postgres',
    async prepare(dir) {
      const secret = join(dir, 'secret');
      writeFileSync(secret, PG_PASSWORD);
      chmodSync(secret, 0o644);
      const ids = process.getuid?.() === 0 ? idsOf('postgres') : {};
      const args = ['-D', join(dir, 'data'), '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${secret}`];
      await run(pgBin('initdb'), [...args, '--no-sync', '--no-instructions', '-E', 'UTF8', '--no-locale'], {
        ...ids,
        cwd: dir,
        env: { PATH: process.env.PATH },
      });
    },
    command: (dir, port, settings) => [
      pgBin('postgres'),
      ...['-D', join(dir, 'data'), '-p', String(port), '-k', dir],
      ...['listen_addresses=127.0.0.1', 'max_connections=60', 'shared_buffers=16MB', ...settings].flatMap(
        (one) => ['-c', one],
      ),
    ],
    ready: async (port) => (await sql(port, 'SELECT 1')) === '1',
    url: (port) => `postgres://postgres:${encodeURIComponent(PG_PASSWORD)}@127.0.0.1:${port}/postgres`,
    async peek(port, botId) {
      const there = await sql(port, "SELECT to_regclass('singlepoll_lease')");
      const text =
        there && (await sql(port, `SELECT rec FROM singlepoll_lease WHERE name=${quoted(keyOf(botId))}`));
      return text === '' ? null : text;
    },
    async put(port, botId, text) {
      const row = `${quoted(keyOf(botId))}, ${quoted(text)}`;
      await sql(
        port,
        `INSERT INTO singlepoll_lease VALUES (${row}) ON CONFLICT (name) DO UPDATE SET rec = excluded.rec`,
      );
    },
    async wipe(port, botId) {
      await sql(port, `DELETE FROM singlepoll_lease WHERE name=${quoted(keyOf(botId))}`);
    },
  },
  etcd: {
    command(dir, port, settings) {
      const client = `http://127.0.0.1:${port}`;
      // The other members' port; there are none.
      const peer = 'http://127.0.0.1:0';
      return [
        ...'etcd --logger zap --log-level warn --bcrypt-cost 4'.split(' '),
        ...['--data-dir', join(dir, 'data')],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
        ...['--initial-cluster', `default=${peer}`],
        ...settings,
      ];
    },
    ready: async (port) => {
      const answer = await fetch(`http://127.0.0.1:${port}/health`);
      return ((await answer.json()) as { health?: string }).health === 'true';
    },
    url: (port) => `etcd://127.0.0.1:${port}`,
    async peek(port, botId) {
      const { kvs } = await etcdCall(port, 'kv/range', { key: base64(keyOf(botId)) });
      const value = (kvs as { value?: string }[] | undefined)?.[0]?.value;
      return value === undefined ? null : Buffer.from(value, 'base64').toString();
    },
    async put(port, botId, text) {
      await etcdCall(port, 'kv/put', { key: base64(keyOf(botId)), value: base64(text) });
    },
    async wipe(port, botId) {
      await etcdCall(port, 'kv/deleterange', { key: base64(keyOf(botId)) });
    },
  },
  kubernetes: {
    command: (_dir, port) => [
      process.execPath,
      ...['--import', import.meta.resolve('tsx')],
      ...[fileURLToPath(new URL('../fixtures/fake-kubernetes.mjs', import.meta.url)), String(port)],
    ],
    ready: async (port) => (await kubernetesCall(port, 'POST', '/fake/control', {})) !== null,
    url: (port) => `k8s://bots?server=http://127.0.0.1:${port}`,
    async peek(port, botId) {
      const lease = (await kubernetesCall(port, 'GET', `${LEASES}/singlepoll-${botId}`)) as Annotated | null;
      return lease?.metadata.annotations?.['singlepoll/record'] ?? null;
    },
    async put(port, botId, text) {
      const name = `singlepoll-${botId}`;
      const lease = (await kubernetesCall(port, 'GET', `${LEASES}/${name}`)) as Annotated | null;
      const annotations = { 'singlepoll/record': text };
      if (lease)
        await kubernetesCall(port, 'PUT', `${LEASES}/${name}`, {
          ...lease,
          metadata: { ...lease.metadata, annotations },
        });
      else await kubernetesCall(port, 'POST', LEASES, { metadata: { name, annotations }, spec: {} });
    },
    async wipe(port, botId) {
      await kubernetesCall(port, 'DELETE', `${LEASES}/singlepoll-${botId}`);
    },
  },
};
