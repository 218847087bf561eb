/** `singlepoll start`: the supervisor in this process, or with --detach in one of its own. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { flagWords } from '../config/options.ts';
import { EXIT } from '../errors.ts';
import { readText } from '../machine/procfs.ts';
import { leaveGoneTerminal, type Sink } from '../output/sink.ts';
import { whileWaiting } from '../output/wait-line.ts';
import { span } from '../output/words.ts';
import { LINK_FD, type Link, openLink, readLink, STARTER_VARIABLE } from '../service/link.ts';
import { isRoot } from '../shell.ts';
import { HUP_IGNORED, hangupIgnored } from '../supervisor/signals.ts';
import { runTool } from '../tools.ts';
import { configure, type Invocation, type Loaded, workingFolder } from './context.ts';

export async function run(invocation: Invocation): Promise<number> {
  const link = await openLink();
  try {
    return await begin({ ...(await configure(invocation)), ...invocation }, link);
  } catch (error) {
    await link?.end(error);
    // A run that has begun has taken it out.
    if ('NOTIFY_SOCKET' in process.env)
      await (await import('../service/notify.ts')).tellEnd(process.env, error);
    throw error;
  }
}

/** The settings, and the words and flags that they come from. */
export type Beginning = Loaded & Pick<Invocation, 'flags' | 'words'>;

/** Returns once a detached supervisor is ready; ends this process with the supervisor that runs in it. */
export async function begin(beginning: Beginning, link: Link | null = null): Promise<number> {
  const { config, warnings, flags } = beginning;
  if (config.detach && !config.dryRun && !link?.isDetached) return await launch(beginning);
  if (config.cwd !== workingFolder()) process.chdir(config.cwd);
  const { start } = await import('../supervisor/start.ts');
  // Whatever a library still holds open must not keep an ended supervisor alive.
  process.exit(await start({ config, warnings, flags, link }));
}

/**
 * Starts the supervisor in a session of its own, with nothing of our terminal, shows what it says until it is ready, and returns 0
 * then. Whatever else ends us ends it, too: nothing is left half started.
 */
async function launch(beginning: Beginning): Promise<number> {
  const awaited = beginning.config.polling ? "the worker's first poll" : 'the worker to stay up';
  const { code, ready } = await whileWaiting(
    (sinceMs) => `waiting for ${awaited}, for ${span(sinceMs)} so far`,
    async (stderr) => await startDetached(beginning, stderr),
  );
  if (ready !== '') process.stdout.write(ready);
  leaveGoneTerminal();
  return code;
}

/** `ready`: what it said at last, where it is ready. */
async function startDetached({ config, flags, words }: Beginning, stderr: Sink) {
  const isHangupIgnored = hangupIgnored();
  const args = [
    'start',
    ...flagWords({ ...flags, detach: true }),
    ...(words.length > 0 ? ['--', ...words] : []),
  ];
  const say = (text: string | Buffer) => void stderr.write(Buffer.from(text), () => {});
  const child = spawn(process.execPath, [...process.execArgv, '--', process.argv[1] ?? '', ...args], {
    cwd: config.cwd,
    env: {
      ...process.env,
      [STARTER_VARIABLE]: process.stderr.isTTY ? 'terminal' : 'plain',
      // In a session of its own, without a terminal, a hang-up can only be meant: it restarts the worker.
      [HUP_IGNORED]: '0',
      // A supervisor that is started from inside a worker leaves that worker's tree, as a detached run outlives what started it. The run
      // is empty and not absent, since a guard kills what has no such variable: it takes that for a child that dropped it.
      SINGLEPOLL_RUN: '',
      SINGLEPOLL_BOT: undefined,
      SINGLEPOLL_SPAWN: undefined,
    },
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  });
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  const doubt = logoutDoubt();
  let asked: NodeJS.Signals | null = null;
  const stop = (name: NodeJS.Signals) => {
    asked ??= name;
    child.kill('SIGTERM');
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  process.on('SIGHUP', isHangupIgnored ? () => {} : stop);
  const raw = child.stderr as Readable;
  const link = child.stdio[LINK_FD] as Readable;
  raw.on('data', say);
  let ready = '';
  const code = await new Promise<number>((resolve) => {
    readLink(link, (message) => {
      if ('text' in message) say(message.text);
      else if ('ready' in message)
        void doubt.then((warning) => {
          if (warning !== null) say(`singlepoll: ${warning}\n`);
          ready = `${message.ready}\n`;
          resolve(EXIT.ok);
        });
    });
    child.on('error', (error) => {
      say(`singlepoll: can't start a detached process: ${error.message}\n`);
      resolve(EXIT.config);
    });
    child.on('close', (ended, signal) => {
      if (asked !== null || signal !== null) return resolve(128 + constants.signals[asked ?? signal!]);
      if (ended === 0)
        say('singlepoll: not started: it ended before the worker had polled\n  → singlepoll logs -n 50\n');
      resolve(ended || EXIT.unreachable);
    });
  });
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.removeListener(name, stop);
  raw.destroy();
  link.destroy();
  child.unref();
  return { code, ready };
}

/** logind.conf(5), KillUserProcesses=. Null: what is started here outlives the login. */
async function logoutDoubt(): Promise<string | null> {
  if (isRoot() || !/\/session-[^/]+\.scope$/m.test(readText('/proc/self/cgroup') ?? '')) return null;
  const manager = ['org.freedesktop.login1', '/org/freedesktop/login1', 'org.freedesktop.login1.Manager'];
  const { stdout } = await runTool('busctl', ['get-property', ...manager, 'KillUserProcesses'], {
    timeoutMs: 2_000,
  });
  if (stdout.trim() !== 'b true') return null;
  return 'it will end when you log out: logind kills the processes of a login here (KillUserProcesses=yes)\n  → singlepoll install --user --now …    # a unit of yours; with loginctl enable-linger it outlives the login';
}
