/** The environment that the worker gets: everything singlepoll got, plus what it needs to know. Pure. */
import type { Config } from '../config/load.ts';

export type Environment = Record<string, string | undefined>;

/** What the worker is to use in place of the user's own: the gateway, and where it is sealed a token of no other use. */
export interface Given {
  readonly apiRoot: string;
  readonly token: string | null;
  /** The fencing number of the lease; null without one. */
  readonly epoch: number | null;
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
  if (given.epoch !== null) own.SINGLEPOLL_EPOCH = String(given.epoch);
  if (given.token !== null) own.TELEGRAM_BOT_TOKEN = given.token;
  // In the sandbox no name may lead the worker to the real bot.
  if (config.sandbox) for (const name of config.tokenVariables) own[name] = given.token ?? '';
  if (config.botId !== null) own.SINGLEPOLL_BOT = String(config.botId);
  const whole: Environment = { ...config.envFileVars, ...env, ...own };
  passProxiesBy(whole, given.apiRoot);
  if (config.token === null || given.token === config.token) return whole;
  // Sealed: the real token is nowhere, whatever variable held it, and be it in the midst of a URL.
  const [secret, sealed] = [secretOf(config.token), secretOf(given.token ?? '')];
  for (const [name, value] of Object.entries(whole)) {
    // The secret alone, so that it does not matter how the colon is written.
    if (value?.includes(secret)) whole[name] = value.replaceAll(secret, sealed);
  }
  return whole;
}

function secretOf(token: string): string {
  return token.slice(token.indexOf(':') + 1);
}

/** A proxy of the user's can't reach the gateway: its loopback is another one. */
function passProxiesBy(env: Environment, apiRoot: string): void {
  if (!apiRoot.startsWith('http://127.0.0.1:')) return;
  const proxied = ['http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'].some((name) => env[name]);
  if (!proxied) return;
  for (const name of ['no_proxy', 'NO_PROXY']) {
    const hosts = env[name] ?? env.no_proxy ?? env.NO_PROXY ?? '';
    if (hosts.split(',').some((it) => it.trim() === '127.0.0.1' || it.trim() === '*')) env[name] = hosts;
    else env[name] = hosts === '' ? '127.0.0.1' : `${hosts},127.0.0.1`;
  }
}
