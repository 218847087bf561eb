/** Asks a supervisor for its status. Apart from find.ts, which takes longer to load than the answer needs to come. */
import { join } from 'node:path';
import type { Config } from '../config/load.ts';
import { findBotDir } from '../config/state-dir.ts';
import { askControl, CONTROL_SOCKET, NoSupervisor, WentAway } from '../supervisor/control.ts';
import { completeStatus, type StatusDocument } from '../supervisor/status.ts';

/** An answer takes some milliseconds. A supervisor that is slower than this is asked again, with patience. */
const USUAL_ANSWER_MS = 400;

/** Null where nobody listens. Throws NoAnswer where it hangs, or the system's error. */
export async function statusOf(control: string, timeoutMs = 3_000): Promise<StatusDocument | null> {
  try {
    const answer = await askControl(control, { cmd: 'status' }, { timeoutMs });
    return answer.ok ? completeStatus(answer.status) : null;
  } catch (error) {
    if (error instanceof NoSupervisor || error instanceof WentAway) return null;
    throw error;
  }
}

/** The status that the supervisor at this bot's usual control socket gives; only this user can listen there. Null: no answer. */
export async function usualAnswer(
  { botId }: Config,
  timeoutMs = USUAL_ANSWER_MS,
): Promise<StatusDocument | null> {
  try {
    const folder = findBotDir(botId);
    return folder === null ? null : await statusOf(join(folder, CONTROL_SOCKET), timeoutMs);
  } catch {
    return null;
  }
}

/** Something listens at its control socket, and does not answer: what is known of it, with that as the first problem. */
export function hung(doc: StatusDocument): StatusDocument {
  const who = doc.supervisor ? `the supervisor (pid ${doc.supervisor.pid})` : 'the supervisor';
  const problem = {
    code: 'supervisor-hung',
    message: `${who} does not answer: hung or stopped`,
    hint: 'singlepoll reset    # in the folder of the bot: ends it, if need be with SIGKILL, and starts again',
  };
  return { ...doc, healthy: false, problems: [problem, ...doc.problems] };
}
