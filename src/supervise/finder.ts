/** Eyes and a stray finder as the configuration asks for them: for `start`, `reset`, `status` and `who`. */
import { realpathSync } from 'node:fs';
import type { Config } from '../config/config.ts';
import { type Eyes, openEyes, openFinder, type StrayFinder } from '../strays/finder.ts';

export function eyesFor(config: Config): Eyes {
  return openEyes({
    token: config.token,
    botId: String(config.botId ?? ''),
    patterns: config.stray.map((source) => new RegExp(source)),
    scope: config.strayScope,
    projectDir: realFolder(config.cwd),
  });
}

export function finderFor(config: Config, eyes = eyesFor(config)): StrayFinder {
  return openFinder({ botId: String(config.botId ?? ''), eyes });
}

function realFolder(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
