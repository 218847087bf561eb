/** A folder, or a port of 127.0.0.1, that a test has to itself; both end with the test, or with the tests of the file. */
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

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
