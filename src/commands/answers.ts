/** Asks a supervisor for its status, and makes one of what is known where it does not answer. */

import { askControl, NoSupervisor, WentAway } from '../supervisor/control.ts';
import { bareStatus, completeStatus, type StatusDocument } from '../supervisor/status.ts';

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

export function stopped(bot: StatusDocument['bot']): StatusDocument {
  return bareStatus(bot, 'stopped');
}

/** Something listens at its control socket, and does not answer. */
export function hung(bot: StatusDocument['bot']): StatusDocument {
  const problem = {
    code: 'supervisor-hung',
    message: 'the supervisor does not answer: hung or stopped',
    hint: 'in the folder of the bot: singlepoll reset    # ends it, if need be with SIGKILL, and starts again',
  };
  return { ...bareStatus(bot, 'starting'), problems: [problem] };
}
