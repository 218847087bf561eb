/** The one line that `systemctl status` shows of a run. Pure; holds no token. */
import type { StatusDocument } from '../core/status.ts';
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';

const LONGEST = 300;

export function statusLine({ state, worker, polling, problems }: StatusDocument): string {
  const parts: string[] = [state === 'disabled' ? 'deploy mode, nobody polls' : state];
  if (worker?.pid) parts.push(`worker ${worker.pid}`);
  if (polling?.lastPollAt) parts.push(`${polling.polls} polls, last ${polling.lastPollAt.slice(11, 19)} UTC`);
  if (worker && worker.restarts > 0) parts.push(`restarts ${worker.restarts}`);
  if (problems[0]) parts.push(`problem: ${problems[0].message}`);
  return plain(maskText(parts.join('; '), []), LONGEST);
}
