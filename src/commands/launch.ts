/**
 * `start --detach`, the side that returns: starts the supervisor in a session of its own, with nothing of our terminal, shows what
 * it says until it is ready, and ends with 0 then. Whatever else ends us ends it, too: nothing is left half started.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { flagWords, type RawFlags } from '../config/options.ts';
import { EXIT } from '../errors.ts';
import { leaveGoneTerminal } from '../output/sink.ts';
import { DETACHED_VARIABLE, LINK_FD, readyText } from '../service/messages.ts';
import { HUP_IGNORED, hangupIgnored } from '../supervisor/signals.ts';

export interface LaunchRequest {
  readonly flags: RawFlags;
  /** The worker as it was typed; empty: from the configuration. */
  readonly words: readonly string[];
  readonly cwd: string;
}

/** Returns the exit code: 0 once it is ready. */
export async function launch({ flags, words, cwd }: LaunchRequest): Promise<number> {
  const isHangupIgnored = hangupIgnored();
  // In a session of its own, without a terminal, a hang-up can only be meant: it restarts the worker.
  const env: NodeJS.ProcessEnv = { ...process.env, [HUP_IGNORED]: '0' };
  env[DETACHED_VARIABLE] = process.stderr.isTTY ? 'terminal' : 'plain';
  const args = [
    'start',
    ...flagWords({ ...flags, detach: true }),
    ...(words.length > 0 ? ['--', ...words] : []),
  ];
  const child = spawn(process.execPath, [...process.execArgv, '--', process.argv[1] ?? '', ...args], {
    cwd,
    env,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  });
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  return await new Promise<number>((resolve) => {
    let asked: NodeJS.Signals | null = null;
    const stop = (name: NodeJS.Signals) => {
      asked ??= name;
      child.kill('SIGTERM');
    };
    process.on('SIGINT', stop).on('SIGTERM', stop);
    process.on('SIGHUP', isHangupIgnored ? () => {} : stop);

    const raw = child.stderr as Readable;
    const link = child.stdio[LINK_FD] as Readable;
    raw.on('data', (bytes: Buffer) => process.stderr.write(bytes));
    lines(link, (line) => {
      const text = readyText(line);
      if (text === null) process.stderr.write(`${line}\n`);
      else {
        process.stdout.write(`${text}\n`);
        end(EXIT.ok);
      }
    });
    child.on('error', (error) => {
      process.stderr.write(`singlepoll: can't start a detached process: ${error.message}\n`);
      end(EXIT.config);
    });
    child.on('close', (code, signal) => {
      if (asked) return end(128 + constants.signals[asked]);
      const how = signal ? 128 + constants.signals[signal] : (code ?? EXIT.bug);
      if (how !== 0) return end(how);
      process.stderr.write('singlepoll: not started: it ended before the worker had polled\n');
      end(EXIT.unreachable);
    });

    function end(code: number): void {
      for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.removeListener(name, stop);
      raw.destroy();
      link.destroy();
      child.unref();
      leaveGoneTerminal();
      resolve(code);
    }
  });
}

function lines(stream: Readable, onLine: (line: string) => void): void {
  let open = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const parts = (open + text).split('\n');
    open = parts.pop() ?? '';
    for (const line of parts) onLine(line);
  });
  stream.on('error', () => {});
}
