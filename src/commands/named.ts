/** The settings of a bot that is named rather than configured here: those of its last start, as far as they can still be read. */
import { type LoadRequest, loadConfig } from '../config/load.ts';
import { NEEDS, positiveFlags } from '../config/options.ts';
import { absoluteFlags } from '../config/sources.ts';
import { TOKEN_VARIABLES } from '../config/token.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { plain } from '../output/plain.ts';
import { shellQuote } from '../shell.ts';
import { recallStart } from '../supervisor/memory.ts';
import { botNamed } from './find.ts';

/** Nothing is found there. */
const NOWHERE = '/nonexistent';

/** Throws 64 where no such bot is known, 78 where the command needs its token and that is not found. */
export async function configureNamed(name: string, { command, flags, cwd: here }: LoadRequest) {
  const { id, cwd, folder } = await botNamed(name);
  const typed = absoluteFlags(flags, here);
  const request = {
    ...{ command, argvCommand: [], cwd: cwd ?? NOWHERE },
    flags: { ...positiveFlags(recallStart(folder)?.flags ?? {}), ...typed },
  };
  const others = Object.entries(process.env).filter(
    ([key]) => !/^SINGLEPOLL_(?!DIR$)/.test(key) && !(TOKEN_VARIABLES as readonly string[]).includes(key),
  );
  // What is exported here is most likely another bot's; but where the folder has none it may be this one's.
  for (const env of [Object.fromEntries(others), process.env]) {
    const loaded = await loadConfig({ ...request, env });
    if (loaded.ok && loaded.config.botId === id) return loaded;
  }
  if (NEEDS[command].token)
    throw new SinglepollError(
      EXIT.config,
      `the token of bot ${id} is neither in ${plain(cwd ?? 'its folder')} nor in the environment`,
      `cd ${shellQuote(cwd ?? '.')} && singlepoll ${command}    # with --env-file, --token-file or --token-env`,
    );
  // Its supervisor can be asked all the same.
  const bare = await loadConfig({ ...request, flags: {}, env: {}, cwd: NOWHERE });
  if (!bare.ok) throw new Error(bare.errors.join());
  return { config: { ...bare.config, botId: id || null, cwd: request.cwd }, warnings: [] };
}
