/** `singlepoll start`. */

import type { Owner } from '../service/link.ts';
import { DETACHED_VARIABLE, OWNED_VARIABLE } from '../service/messages.ts';
import { start } from '../supervisor/start.ts';
import { configure, type Invocation } from './context.ts';

export async function run(invocation: Invocation): Promise<number> {
  const owner = OWNED_VARIABLE in process.env ? (await import('../service/link.ts')).openOwner() : null;
  try {
    return await startFor(invocation, owner);
  } catch (error) {
    await owner?.end(error);
    throw error;
  }
}

async function startFor(invocation: Invocation, owner: Owner | null): Promise<number> {
  const { config, warnings } = await configure(invocation);
  const { flags, words } = invocation;
  const detached = DETACHED_VARIABLE in process.env;
  if (config.detach && !config.dryRun && !detached) {
    const { launch } = await import('./launch.ts');
    return await launch({ flags, words, cwd: config.cwd });
  }
  const link = detached ? await (await import('../service/link.ts')).openLink() : null;
  const code = await start({ config, warnings, flags, link, owner });
  // Whatever a library still holds open must not keep an ended supervisor alive.
  process.exit(code);
}
