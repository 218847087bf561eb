/** Eyes and a prover as the configuration asks for them: for `start`, `reset`, `status` and `who`. */
import { join } from 'node:path';
import type { Config } from '../config/load.ts';
import { realPath } from '../files.ts';
import { type Eyes, openEyes } from '../strays/finder.ts';
import { createProver, type Prover } from '../strays/prover.ts';
import type { BotApi } from '../telegram/bot-api.ts';

export function eyesFor(config: Config): Eyes {
  return openEyes({
    token: config.token,
    botId: String(config.botId ?? ''),
    patterns: config.stray,
    scope: config.strayScope,
    projectDir: realPath(config.cwd),
  });
}

/** `botDir`: the bot's state folder; null where there is none. `ours`: pids whose connections are not a stranger's. */
export function proverFor(
  config: Config,
  eyes: Eyes,
  api: BotApi,
  botDir: string | null,
  ours: () => readonly number[],
): Prover {
  return createProver({
    api,
    apiRoot: config.apiRoot,
    addressFile: botDir === null ? null : join(botDir, ADDRESS_FILE),
    ...{ eyes, ours },
  });
}

const ADDRESS_FILE = 'api-addresses.json';
