/** A connection that is given up, with what it still has to say. */
import type { Socket } from 'node:net';

/**
 * Closes a connection and has the kernel drop what it has not delivered. After an ordinary close it goes on delivering, for minutes
 * where the way is cut (net.ipv4.tcp_orphan_retries): a poll that was given up with the lease would reach Telegram when the way is
 * mended, and throw out the poller of the machine that has taken over. TLS hides the TCP connection that could be reset.
 */
export function forget(socket: Socket): void {
  // Where it is not connected nothing was sent.
  if (socket.connecting || socket.destroyed || 'encrypted' in socket) socket.destroy();
  else socket.resetAndDestroy();
}
