/** Asks one control socket for its supervisor's own status. */
import type { StatusDocument } from '../core/status.ts';
import { askControl, NoSupervisor, WentAway } from '../machine/control.ts';

/** Null where nobody listens. Throws NoAnswer where it hangs, or the system's error. */
export async function statusOf(control: string, timeoutMs = 3_000): Promise<StatusDocument | null> {
  try {
    const answer = await askControl(control, { cmd: 'status' }, { timeoutMs });
    return answer.ok ? (answer.status as StatusDocument) : null;
  } catch (error) {
    if (error instanceof NoSupervisor || error instanceof WentAway) return null;
    throw error;
  }
}
