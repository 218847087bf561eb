/** How many processes of our cgroup the kernel has killed for lack of memory: cgroups(7), memory.events of v2, memory.oom_control of v1. */
import { readText } from './procfs.ts';

/** Null: the system does not tell. In a container its own root may be all that is there to read. */
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
