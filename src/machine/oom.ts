/** Counts processes of our cgroup that the kernel killed for lack of memory (cgroups(7): memory.events, memory.oom_control). */
import { readText } from './procfs.ts';

/** Null: the system does not tell. In a container only the cgroup root may be readable. */
export function oomKills(): number | null {
  const own = readText('/proc/self/cgroup') ?? '';
  const pathIn = (controller: string) =>
    new RegExp(`^\\d+:(?:[^:\\n]*,)?${controller}(?:,[^:\\n]*)?:(.*)$`, 'm').exec(own)?.[1] ?? '';
  const files = [
    [`/sys/fs/cgroup/memory${pathIn('memory')}`, 'memory.oom_control'],
    ['/sys/fs/cgroup/memory', 'memory.oom_control'],
    [`/sys/fs/cgroup${pathIn('')}`, 'memory.events'],
    ['/sys/fs/cgroup', 'memory.events'],
  ];
  for (const [folder, name] of files) {
    const count = /^oom_kill (\d+)$/m.exec(readText(`${folder}/${name}`) ?? '')?.[1];
    if (count !== undefined) return Number(count);
  }
  return null;
}
