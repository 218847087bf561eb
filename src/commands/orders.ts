/** `singlepoll stop` and `singlepoll restart`: orders to a supervisor that runs. */
import { EXIT, SinglepollError } from '../errors.ts';
import { plain } from '../output/plain.ts';
import { whileWaiting } from '../output/wait-line.ts';
import { span } from '../output/words.ts';
import { type Answer, NoSupervisor } from '../supervisor/control.ts';
import { configure, type Invocation, warn } from './context.ts';
import { askSupervisor, findSupervisor } from './find.ts';

/** More than any --stop-timeout that somebody waits for by hand. */
export const ORDER_WAIT_MS = 10 * 60_000;

/** Asks the supervisor to end its worker tree and itself, and says what was stopped. */
export async function stop(invocation: Invocation): Promise<number> {
  const answer = await order(invocation, 'stop');
  if (typeof answer === 'string') process.stdout.write(`nothing to stop: ${answer}\n`);
  else tellStopped(answer);
  return EXIT.ok;
}

/** Asks the supervisor for a new worker in place of the present one. */
export async function restart(invocation: Invocation): Promise<number> {
  const answer = await order(invocation, 'restart', { sameEnv: invocation.own.sameEnv === true });
  if (typeof answer === 'string')
    throw new SinglepollError(
      EXIT.notRunning,
      `nothing to restart: ${answer}`,
      'singlepoll start -- COMMAND',
    );
  if (!answer.ok) {
    const isConfig = answer.code === EXIT.config;
    const hint = isConfig
      ? 'singlepoll restart --same-env    # with the settings of before'
      : 'singlepoll status';
    throw new SinglepollError(
      isConfig ? EXIT.config : EXIT.otherPoller,
      `not restarted: ${answer.error}`,
      hint,
    );
  }
  process.stdout.write(`restarted: ${String(answer.restarted)}\n`);
  return EXIT.ok;
}

/** Sends an order to the supervisor that is meant. A text: no supervisor runs, or none any more. */
async function order(invocation: Invocation, cmd: string, more: object = {}): Promise<Answer | string> {
  const { config, warnings } = await configure(invocation);
  warn(warnings);
  const supervisor = await findSupervisor(config);
  if (!supervisor) return 'no supervisor runs';
  const { bot, supervisor: it } = supervisor.doc ?? {};
  // The person may have meant the bot of this folder, which does not run.
  if (config.botId === null && bot && it?.cwd && it.cwd !== config.cwd)
    warn([`no bot is named here; this is the only one that runs: ${bot.id}, from ${plain(it.cwd)}`]);
  try {
    return await whileWaiting(
      (sinceMs) => `waiting for the supervisor to ${cmd} its worker, for ${span(sinceMs)} so far`,
      async () => await askSupervisor(config, supervisor, { cmd, ...more }, ORDER_WAIT_MS),
    );
  } catch (error) {
    if (error instanceof NoSupervisor) return error.message;
    throw error;
  }
}

/** Throws SinglepollError 75 where it was not stopped. */
export function tellStopped({ ok, error, stopped }: Answer): void {
  if (!ok)
    throw new SinglepollError(EXIT.otherPoller, `not stopped: ${error}`, 'singlepoll reset --no-start');
  process.stdout.write(`stopped: ${String(stopped)}\n`);
}
