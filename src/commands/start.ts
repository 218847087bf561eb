/** `singlepoll start`. */

import { start } from '../supervise/start.ts';
import { configure } from './context.ts';
import type { Invocation } from './invocation.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { config, warnings } = await configure(invocation);
  const code = await start({ config, warnings, flags: invocation.flags });
  // Whatever a library still holds open must not keep an ended supervisor alive.
  process.exit(code);
}
