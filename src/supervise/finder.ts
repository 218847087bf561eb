/** A stray finder as the configuration asks for it, with service managers named: for `start`, `reset`, `status` and `who`. */
import { basename } from 'node:path';
import type { Config } from '../config/config.ts';
import { findRespawner, linuxRespawnerContext } from '../machine/respawner/index.ts';
import { createStrayFinder, type StrayFinder } from '../machine/strays.ts';

export function finderFor(config: Config): StrayFinder {
  return createStrayFinder({
    token: config.token,
    botId: String(config.botId ?? ''),
    apiRoot: config.apiRoot,
    patterns: config.stray.map((source) => new RegExp(source)),
    scope: config.strayScope,
    projectDir: config.cwd,
    envFileNames: config.envFile === null ? [] : [basename(config.envFile)],
    findRespawner: (top, stray, snapshot) => findRespawner(top, stray, linuxRespawnerContext(snapshot.procs)),
  });
}
