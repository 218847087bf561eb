/** The status of a bot whose supervisor says nothing, where only its name is known. */
import { bareStatus, type StatusDocument } from '../core/status.ts';

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
