/**
 * launchd, on a Mac: every job's process is a child of pid 1, so `launchctl list` has to say which label it is.
 * Applications that somebody opened are in that list too, and are not jobs.
 */
import { ask, type Inquiry, respawner, type Verdict } from './inquiry.ts';
import { printable } from './shell.ts';

/** Whether the stray's tree hangs directly under launchd. */
export function suspectLaunchd(inquiry: Inquiry): boolean {
  return (inquiry.ctx.platform ?? process.platform) === 'darwin' && inquiry.lineage.treeTop.ppid === 1;
}

/** Looks the tree's top up in the list of our own session. */
export async function nameLaunchd(inquiry: Inquiry): Promise<Verdict> {
  const list = await ask(inquiry, 'launchctl', ['list']);
  for (const line of list?.split('\n') ?? []) {
    const [pid, , label] = line.split('\t');
    if (Number(pid) !== inquiry.lineage.treeTop.pid || label === undefined || /^application\./.test(label))
      continue;
    const target = inquiry.ownUid === 0 ? `system/${label}` : `gui/${inquiry.ownUid}/${label}`;
    const steps = [{ words: ['launchctl', 'disable', target] }, { words: ['launchctl', 'bootout', target] }];
    return respawner(inquiry, 'launchd', printable(label), steps);
  }
  return 'look-further';
}
