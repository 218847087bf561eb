/** `status --watch`: live on a terminal; elsewhere, and with --json, again at each change. */
import type { Config } from '../config/load.ts';

/** `bot`: of --bot. */
export async function watchStatus(config: Config, json: boolean, bot: string | null): Promise<number> {
  const { NO_COLOR, TERM } = process.env;
  if (!json && process.stdout.isTTY && !NO_COLOR && TERM !== 'dumb') {
    const { watchLive } = await import('../watch/live.ts');
    return await watchLive(config, bot);
  }
  const { watchStream } = await import('../watch/stream.ts');
  if (json) return await watchStream(config, bot, (doc) => JSON.stringify(doc));
  const { screen } = await import('./show-status.ts');
  return await watchStream(config, bot, await screen(process.stdout));
}
