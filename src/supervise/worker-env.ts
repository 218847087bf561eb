/** The environment that the worker gets: everything singlepoll got, plus what it needs to know. Pure. */
import type { Config } from '../config/config.ts';

export type Environment = Record<string, string | undefined>;

/** What the worker is to use in place of the user's own: the gateway, and where it is sealed a token of no other use. */
export interface Given {
  readonly apiRoot: string;
  readonly token: string | null;
}

/** `spawn` counts 1, 2, 3 …; `run` is one random id per supervisor run. */
export function workerEnv(
  config: Pick<Config, 'envFileVars' | 'polling' | 'token' | 'botId' | 'sandbox' | 'tokenVariables'>,
  env: Readonly<Environment>,
  run: string,
  spawn: number,
  given: Given,
): Environment {
  const own: Environment = {
    POLLING_ENABLED: config.polling ? '1' : '0',
    PYTHONUNBUFFERED: '1',
    // A Python program that sets its title (setproctitle) would wipe its environment block, and with it the mark that finds
    // it again after it has moved to another session; this tells it not to.
    SPT_NOENV: '1',
    TELEGRAM_API_ROOT: given.apiRoot,
    SINGLEPOLL_RUN: run,
    SINGLEPOLL_SPAWN: String(spawn),
  };
  if (given.token !== null) own.TELEGRAM_BOT_TOKEN = given.token;
  // In the sandbox no name may lead the worker to the real bot.
  if (config.sandbox) for (const name of config.tokenVariables) own[name] = given.token ?? '';
  if (config.botId !== null) own.SINGLEPOLL_BOT = String(config.botId);
  const whole: Environment = { ...config.envFileVars, ...env, ...own };
  if (config.token === null || given.token === config.token) return whole;
  // Sealed: the real token is nowhere, whatever variable held it, and be it in the midst of a URL.
  for (const [name, value] of Object.entries(whole)) {
    if (value?.includes(config.token)) whole[name] = value.replaceAll(config.token, given.token ?? '');
  }
  return whole;
}
