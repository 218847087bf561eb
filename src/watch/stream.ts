/** `status --watch` where there is no screen to draw on: a screen or a document again at each change. */
import type { Config } from '../config/load.ts';
import type { StatusDocument } from '../core/status.ts';
import { EXIT } from '../errors.ts';
import { followStatus } from './source.ts';

/** `render` makes what is printed of a document. Throws what `status` throws. */
export async function watchStream(
  config: Config,
  bot: string | null,
  render: (doc: StatusDocument) => string,
): Promise<number> {
  let last = '';
  let full = false;
  let newest: StatusDocument | null = null;
  let over!: () => void;
  const ended = new Promise<void>((resolve) => {
    over = resolve;
  });

  function print(): void {
    const document = JSON.stringify(newest);
    // A reader that is slower than the changes gets the newest.
    if (newest === null || full || document === last) return;
    last = document;
    full = !process.stdout.write(`${render(newest)}\n`);
  }

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, over);
  process.stdout.on('error', over);
  process.stdout.on('drain', () => {
    full = false;
    print();
  });
  const source = followStatus(config, bot, ({ status }) => {
    newest = status;
    print();
  });
  try {
    await Promise.race([ended, source.failed]);
    return EXIT.ok;
  } finally {
    source.close();
  }
}
