/** A folder, or a port of 127.0.0.1, that a test has to itself; both end with the test, or with the tests of the file. */
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { until } from './wait.ts';

interface Ending {
  after(end: () => void): void;
}

export function newFolder(t: Ending = { after }): string {
  const folder = mkdtempSync(join(tmpdir(), 'sp-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Gives the port. Connections end with the server. */
export async function listen(t: Ending, server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => sockets.add(socket.on('error', () => {})));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/**
 * Root's commands see the runs of other users: a test that starts one, or that counts on there being none, holds this to its end. Waits
 * for those of other files and suites; the kernel lets go of the name with its process.
 */
export async function holdOtherUsers(t: Ending): Promise<void> {
  const held = await until('the tests with runs of other users to end', async () => {
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen('\0sp-test-runs-of-other-users', () => resolve(true));
    });
    return isFree ? server : null;
  });
  t.after(() => held.close());
}
