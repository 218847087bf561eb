/** The status of a bot whose supervisor says nothing, where only its name is known. */
import type { StatusDocument } from '../core/status.ts';

export function stopped(bot: StatusDocument['bot']): StatusDocument {
  return {
    bot,
    state: 'stopped',
    healthy: false,
    problems: [],
    supervisor: null,
    worker: null,
    polling: null,
    webhook: null,
    strays: [],
    lease: null,
    log: null,
    alerts: null,
  };
}

/** Something listens at its control socket, and does not answer. */
export function hung(bot: StatusDocument['bot']): StatusDocument {
  const problem = {
    code: 'supervisor-hung',
    message: 'the supervisor does not answer: hung or stopped',
    hint: 'in the folder of the bot: singlepoll reset    # ends it, if need be with SIGKILL, and starts again',
  };
  return { ...stopped(bot), state: 'starting', problems: [problem] };
}
