/** Names of users, from /etc/passwd, read once; an id stands for itself where there is no name. */
import { readText } from './procfs.ts';

let names: Map<number, string> | null = null;

export function userName(uid: number): string {
  if (uid < 0) return 'unknown';
  if (!names) {
    names = new Map();
    for (const line of (readText('/etc/passwd') ?? '').split('\n')) {
      const [name, , id] = line.split(':');
      if (name && id && !names.has(Number(id))) names.set(Number(id), name);
    }
  }
  return names.get(uid) ?? String(uid);
}
