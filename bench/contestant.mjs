// One supervisor with one worker and one bot of the sandbox, in a folder of its own: started, asked, ended.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { adopt, end, environment, msBetween, newFolder, nsNow, openStamps, wallMs } from './scene.mjs';

/**
 * `supervisor` is a module of supervisors/; `bot` is { apiRoot, token }; `words` go to the worker. Nothing runs before
 * `coldStartMs`.
 */
export function contestant(supervisor, bot, { words = ['poll'], output = null, ...rest } = {}) {
  const home = newFolder(supervisor.name);
  const stamps = openStamps(join(home, 'stamps'));
  const env = environment(home, {
    TELEGRAM_API_ROOT: bot.apiRoot,
    TELEGRAM_BOT_TOKEN: bot.token,
    BENCH_STAMPS: stamps.path,
  });
  const its = supervisor.create({ home, env, words, output: output ?? join(home, 'output'), ...rest });
  let worker = null;

  async function nextWorker() {
    worker = await stamps.next(`the worker of ${supervisor.name}`);
    // Should the benchmark be stopped, nobody else would end it.
    adopt(worker.pid);
    return worker;
  }

  return {
    ...its,
    name: supervisor.name,
    home,
    env,
    /** From the command to the worker's first instruction. */
    async coldStartMs() {
      const began = nsNow();
      const launched = its.launch();
      const { ns } = await nextWorker();
      await launched;
      return msBetween(began, ns);
    },
    /** From SIGKILL to the next worker's first instruction. */
    async restartMs() {
      await its.settled();
      const began = nsNow();
      end(worker.pid, 'SIGKILL');
      const { ns } = await nextWorker();
      return msBetween(began, ns);
    },
    /** Ends it and forgets its files. */
    async close() {
      await its.close();
      rmSync(home, { recursive: true, force: true });
    },
    statusMs: () => wallMs(...its.status, its.statusEnv ?? env),
    workerStartNs: () => worker.ns,
  };
}
