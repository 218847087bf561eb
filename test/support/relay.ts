// The gateway as seen from both sides of its fence: connections that a process of the worker's tree makes (through the
// fixture worker relay.mjs, byte for byte), and connections of a stranger (the test itself).
import { existsSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Bed, bed, node } from './bed.ts';
import type { Running } from './cli.ts';
import { processesOfGateway } from './proc.ts';
import { openUpstream } from './upstream.ts';
import { until } from './wait.ts';

/**
 * Who connects, and what the far side sees when the caller's socket ends: `inside` a close, `reset` an RST, each from the
 * worker; `child` from a second process of its tree (with `--child`); `outside` from the test itself.
 */
export type Side = 'inside' | 'reset' | 'child' | 'outside';

/** What the worker was given. */
interface Told {
  pid: number;
  root: string;
  env: Record<string, string>;
  argv: string[];
  execArgv: string[];
}

export type Gate = ReturnType<typeof gateOf>;

const prefix = (b: Bed): string => join(b.dir, 'relay');

/** What the present worker was given, null before it is ready. */
function toldBy(b: Bed, name = 'relay'): Told | null {
  const path = `${join(b.dir, name)}.json`;
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Told) : null;
}

interface RelayOptions {
  /** Of `start`, before the command. */
  options?: readonly string[];
  /** Of the worker: --idle, --child. */
  worker?: readonly string[];
  env?: Record<string, string>;
  /** Waits for the first poll; default true unless idle. */
  polled?: () => boolean;
}

/** `singlepoll start` with the relay as its worker; waits until it has polled (unless idle) and its sockets listen. */
export async function relay(b: Bed, options: RelayOptions = {}): Promise<Gate> {
  const { options: words = [], worker = [] } = options;
  const env = { ...(options.env ?? b.env), SP_TEST_RELAY: prefix(b) };
  const idle = worker.includes('--idle');
  const polled = options.polled ?? (() => idle || b.sandbox.polls().length > 0);
  const args = ['start', ...words, '--', ...node('relay.mjs', ...worker)];
  const run = b.cli(args, { env });
  const isReady = () => {
    if (run.ended()) throw new Error(`ended before it polled\n${run.seen()}`);
    return toldBy(b) && (!worker.includes('--child') || toldBy(b, 'relay-child')) && polled();
  };
  await until('the relay to be ready and to have polled', isReady, run);
  return gateOf(b, run);
}

/** The gateway of the present worker; after a restart call it again. */
function gateOf(b: Bed, run: Running) {
  const told = toldBy(b);
  if (!told) throw new Error(`no relay yet\n${run.seen()}`);
  const port = Number(new URL(told.root).port);
  return {
    run,
    told,
    port,
    /** The token that the worker was given. */
    token: told.env.TELEGRAM_BOT_TOKEN ?? '',
    /** For a Host header. */
    host: `127.0.0.1:${port}`,
    /** Supervisor, and whoever listens at the port where that is another process. */
    pids: processesOfGateway(run.pid, port),
    /** Of the second process (with `--child`). */
    childPid: () => toldBy(b, 'relay-child')?.pid ?? -1,
    /** A raw connection to the gateway. Errors are swallowed; `close` always comes. */
    dial(side: Side): Socket {
      const end = { inside: '.cut', reset: '.reset', child: '-child.cut', outside: '' }[side];
      const socket =
        side === 'outside'
          ? connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
          : connect({ path: prefix(b) + end, allowHalfOpen: true });
      socket.on('error', () => {});
      return socket;
    },
  };
}

/** The gateway of the next worker, once that is ready. */
export async function nextGate(b: Bed, before: Gate): Promise<Gate> {
  const isNext = () => toldBy(b) !== null && toldBy(b)?.pid !== before.told.pid;
  await until('the next worker', isNext, before.run);
  return gateOf(b, before.run);
}

/** `start` with the relay on a recording upstream; the worker polls in the background unless it is `--idle`. */
export async function onUpstream(t: TestContext, options: RelayOptions & { path?: string } = {}) {
  const b = await bed(t);
  const up = await openUpstream(t, b.botId, options.path);
  b.env.TELEGRAM_API_ROOT = `${up.root}/`;
  const idle = options.worker?.includes('--idle') ?? false;
  const gate = await relay(b, { polled: () => idle || up.of('getUpdates').length > 0, ...options });
  return { b, up, gate };
}
