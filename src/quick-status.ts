/**
 * The plain `singlepoll status` and `status --json`, without the command line: a bundle of its own, so that the answer of a
 * healthy supervisor is there before commander would be. Whatever is not as usual (no supervisor, a warning, a mistake) is
 * left to the command itself.
 */
import { workingFolder } from './commands/context.ts';
import { usualWord } from './commands/current-status.ts';
import { showStatus } from './commands/show-status.ts';
import { loadConfig } from './config/load.ts';
import { statusExitCode } from './core/status.ts';

/** The exit code; null where nothing was printed and the whole program is needed. */
export async function quickStatus(json: boolean): Promise<number | null> {
  const loaded = await loadConfig({
    command: 'status',
    flags: {},
    argvCommand: [],
    env: process.env,
    cwd: workingFolder(),
  });
  if (!loaded.ok || loaded.warnings.length > 0) return null;
  const doc = await usualWord(loaded.config);
  if (!doc) return null;
  await showStatus(doc, json);
  return statusExitCode(doc);
}
