/** The environment that the worker gets: everything singlepoll got, plus what it needs to know. Pure. */
import type { Config } from '../config/config.ts';

export type Environment = Record<string, string | undefined>;

/** `spawn` counts 1, 2, 3 …; `run` is one random id per supervisor run. */
export function workerEnv(
  config: Pick<
    Config,
    'envFileVars' | 'polling' | 'token' | 'botId' | 'apiRoot' | 'sandbox' | 'tokenVariables'
  >,
  env: Readonly<Environment>,
  run: string,
  spawn: number,
): Environment {
  const own: Environment = {
    POLLING_ENABLED: config.polling ? '1' : '0',
    PYTHONUNBUFFERED: '1',
    // A Python program that sets its title (setproctitle) would wipe its environment block, and with it the mark that finds
    // it again after it has moved to another session; this tells it not to.
    SPT_NOENV: '1',
    TELEGRAM_API_ROOT: config.apiRoot,
    SINGLEPOLL_RUN: run,
    SINGLEPOLL_SPAWN: String(spawn),
  };
  if (config.token !== null) own.TELEGRAM_BOT_TOKEN = config.token;
  // In the sandbox no name may lead the worker to the real bot.
  if (config.sandbox) for (const name of config.tokenVariables) own[name] = config.token ?? '';
  if (config.botId !== null) own.SINGLEPOLL_BOT = String(config.botId);
  return { ...config.envFileVars, ...env, ...own };
}
