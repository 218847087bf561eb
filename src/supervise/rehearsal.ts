/**
 * `start --sandbox`: the built-in Bot API with a bot in trouble (webhook set, updates waiting, a forgotten poller), and,
 * without a command, a sample worker. Here the polls are seen as they happen.
 */
import type { Config } from '../config/config.ts';
import type { Report } from '../output/report.ts';
import { distFile } from '../paths.ts';
import type { Facts } from './facts.ts';
import type { Running } from './run.ts';

export interface Rehearsal {
  /** With the sandbox's bot and root in place of the user's. */
  readonly config: Config;
  /** The sample worker. */
  readonly command: readonly string[];
  /** Tells the newcomer what is going on. */
  say(): void;
  /** Feeds what the sandbox sees into the facts, and the first poll of each spawn into the loop. */
  follow(running: Running, facts: Facts): void;
  close(): Promise<void>;
}

export async function rehearsal(config: Config, report: Report): Promise<Rehearsal> {
  const { prepareDemo } = await import('../sandbox/demo.ts');
  const demo = await prepareDemo({ strayScript: distFile('legacy-polling-bot.cjs') });
  const { sandbox, root, token } = demo;
  const sample = { argv: [process.execPath, distFile('sample-bot.cjs')], source: 'the built-in sample bot' };
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
    follow(running, facts) {
      let seenSpawn = 0;
      sandbox.onRequest(({ type, request }) => {
        if (request.method.toLowerCase() !== 'getupdates') return;
        const { state } = running.loop;
        if (type === 'start' && state.spawn !== seenSpawn && state.pid !== null) {
          seenSpawn = state.spawn;
          running.loop.send({ kind: 'polled' });
        }
        if (type !== 'end' || request.status !== 200) return;
        facts.polls += 1;
        facts.lastPollAt = new Date().toISOString();
        facts.updates += request.delivered.length;
        const next = Math.max(request.offset ?? 0, (request.delivered.at(-1) ?? -1) + 1);
        if (next > 0) facts.offset = Math.max(facts.offset ?? 0, next);
        if (request.delivered.length > 0) {
          report.line(
            'poll',
            `${request.delivered.length} ${request.delivered.length === 1 ? 'update' : 'updates'} received, offset ${facts.offset}`,
          );
        }
      });
    },
    close: () => demo.close(),
  };
}
