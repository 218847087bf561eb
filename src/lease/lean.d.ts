// Parts of packages that have no typings of their own; the whole has.
declare module '@redis/client/dist/lib/client/index.js' {
  import type { RedisClientOptions } from '@redis/client';
  /** What of the client is used here: any server's answers, without its list of commands. */
  export interface RedisClient {
    connect(): Promise<unknown>;
    sendCommand<T>(command: string[]): Promise<T>;
    subscribe(channel: string, listener: () => void): Promise<void>;
    on(event: 'error' | 'terminated', listener: () => void): void;
    destroy(): void;
  }
  const module: { default: { create(options: Omit<RedisClientOptions, 'RESP'> & { RESP: 2 }): RedisClient } };
  export default module;
}
declare module '@redis/client/dist/lib/errors.js' {
  export { ErrorReply } from '@redis/client';
}
declare module 'pg/lib/client.js' {
  import { Client } from 'pg';
  export default Client;
}
