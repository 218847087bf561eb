/**
 * `start --sandbox`: the built-in Bot API with a bot in trouble (webhook set, updates waiting, a forgotten poller), and,
 * without a command, a sample worker.
 */
import type { Config } from '../config/load.ts';
import type { Report } from '../output/report.ts';
import { distFile } from '../paths.ts';

export interface Rehearsal {
  /** With the sandbox's bot and root in place of the user's. */
  readonly config: Config;
  /** The sample worker. */
  readonly command: readonly string[];
  /** Tells the newcomer what is going on. */
  say(): void;
  close(): Promise<void>;
}

export async function rehearsal(config: Config, report: Report): Promise<Rehearsal> {
  const { prepareDemo } = await import('../sandbox/demo.ts');
  const demo = await prepareDemo({ strayScript: distFile('legacy-polling-bot.js') });
  const { root, token } = demo;
  const sample = { argv: [process.execPath, distFile('sample-bot.js')], source: 'the built-in sample bot' };
  const own: Config = Object.freeze({
    ...config,
    token,
    botId: Number(token.split(':')[0]),
    tokenSource: 'the built-in sandbox',
    apiRoot: root,
    apiRootSource: 'the built-in sandbox',
    command: config.command ?? sample,
  });
  return {
    config: own,
    command: sample.argv,
    say() {
      report.line(
        'sandbox',
        `the Bot API at ${root} is built in, and the bot is in trouble: a webhook is set, 3 updates wait, a forgotten poller (pid ${demo.strayPid}) runs`,
      );
    },
    close: () => demo.close(),
  };
}
