/**
 * Names a kernel lock (lock.ts) among all machines: whoever holds the lock of this name knows that an earlier holder of the same one
 * is dead. The lock lives in one network namespace of one boot, so both belong to the name.
 */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';

/** Null where the system does not tell one boot or namespace from another: then nothing is proven. */
export function kernelLockId(lockName: string): string | null {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    const namespace = readlinkSync('/proc/self/ns/net');
    return createHash('sha256').update(`${boot} ${namespace} ${lockName}`).digest('hex').slice(0, 32);
  } catch {
    return null;
  }
}
