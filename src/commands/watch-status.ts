/**
 * `status --watch`: the screen (or, with --json, one document per line) again whenever something has changed, until it is
 * interrupted. Asks the supervisor once a second; ages in the screen are drawn anew every time.
 */
import type { Config } from '../config/config.ts';
import type { StatusDocument } from '../core/status.ts';
import { EXIT } from '../errors.ts';
import { currentStatus } from './current-status.ts';

const EVERY_MS = 1_000;
const CLEAR_SCREEN = '\x1b[H\x1b[2J\x1b[3J';

/** `draw` renders for people; null prints documents. `bot`: of --bot. */
export async function watchStatus(
  config: Config,
  draw: ((doc: StatusDocument) => string) | null,
  bot: string | null = null,
): Promise<number> {
  let last = '';
  let over = false;
  let wake = () => {};
  const end = () => {
    over = true;
    wake();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, end);
  process.stdout.on('error', end);
  while (!over) {
    const doc = await currentStatus(config, bot);
    const document = JSON.stringify(doc);
    if (draw === null) {
      if (document !== last) process.stdout.write(`${document}\n`);
    } else if (process.stdout.isTTY) process.stdout.write(CLEAR_SCREEN + draw(doc));
    else if (document !== last) process.stdout.write(`${draw(doc)}\n`);
    last = document;
    if (over) break;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, EVERY_MS);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
  return EXIT.ok;
}
