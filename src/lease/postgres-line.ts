/** One connection to PostgreSQL, whose socket we can destroy at any moment. */
import { Socket } from 'node:net';
import Client from 'pg/lib/client.js';
import { sslModeOf, sslOf } from './postgres-ssl.ts';
import type { LeaseUrl } from './url.ts';

/** A session may be silent for long; this finds out that the other side is gone. */
const PROBE_AFTER_MS = 10_000;

export interface PostgresLine {
  readonly client: Client;
  /** Rejects with the socket's error or the server's. */
  readonly ready: Promise<unknown>;
  /** Destroys the socket; a statement under way is rejected. */
  end(): void;
}

export interface PostgresDialer {
  readonly user: string;
  /** `onGone` once, whoever ended it. */
  dial(onNotice: () => void, onGone: (line: PostgresLine) => void): PostgresLine;
  /** After a line that could not be made ready: true where another one, without encryption, may do. */
  mayGoPlain(error: unknown): boolean;
}

/** PGUSER and PGPASSWORD serve where the URL names none, as everywhere with PostgreSQL. */
export function postgresDialer(url: LeaseUrl): PostgresDialer {
  const user = url.user ?? process.env.PGUSER ?? 'postgres';
  const mode = sslModeOf(url);
  const { host, port } = url.hosts[0]!;
  let plain = mode === 'disable';
  return {
    user,
    dial(onNotice, onGone) {
      const socket = new Socket();
      const client = new Client({
        ...{ host, port, user, database: url.path || user, application_name: 'singlepoll' },
        ...{ stream: () => socket, keepAlive: true, keepAliveInitialDelayMillis: PROBE_AFTER_MS },
        password: () => url.password ?? process.env.PGPASSWORD ?? '',
        ssl: plain ? false : sslOf(url, mode),
      });
      let gone = false;
      const end = (): void => {
        socket.destroy();
        if (gone) return;
        gone = true;
        onGone(line);
      };
      client.on('error', end);
      client.on('end', end);
      client.on('notification', onNotice);
      const ready = client.connect();
      ready.catch(() => {});
      const line = { client, ready, end };
      return line;
    },
    mayGoPlain(error) {
      const may = !plain && /^(?:allow|prefer)$/.test(mode) && /not support SSL/.test(String(error));
      plain ||= may;
      return may;
    },
  };
}
