/** `singlepoll logs`: the last lines of a run's log, and on request what follows. */
import { spawnSync } from 'node:child_process';
import { showValue } from '../config/messages.ts';
import { findBotDir } from '../config/state-dir.ts';
import { parseDuration } from '../config/values.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import type { Found } from '../install/plan.ts';
import { systemd } from '../install/systemd.ts';
import { recallLog } from '../output/log.ts';
import { followLog } from '../output/log-follow.ts';
import { plain } from '../output/plain.ts';
import { toolEnvironment } from '../tools.ts';
import { configure, type Invocation, namedBot, warn } from './context.ts';
import { type Bot, botNamed, findBots, theOnly } from './find.ts';

const DEFAULT_LINES = 10;
/** The log begins each line with its time and the stream that it came from. */
const STAMP = /^(\d{4}-\d\d-\d\dT[\d:.]+Z) (out|err|singlepoll) /;

export async function run(invocation: Invocation): Promise<number> {
  const { own } = invocation;
  const since = parseSince(own.since);
  const lines = parseLines(own.lines ?? own.tail ?? (since === null ? DEFAULT_LINES : 'all'));
  const { folder, botId } = await botOf(invocation);
  const isChosen = since !== null || own.json === true;
  const isWritten =
    folder !== null &&
    (await followLog({
      path: () => recallLog(folder),
      lines,
      follow: own.follow === true,
      write: isChosen ? writeChosen(since ?? '', own.json === true) : write,
      say: (text) => process.stderr.write(`singlepoll: ${plain(text, 1_000)}\n`),
    }));
  if (isWritten) return EXIT.ok;
  const unit = (await systemd.list()).find(({ made }) => botId !== null && made?.bot === botId);
  if (unit) {
    const count = Number.isFinite(lines) ? String(lines) : 'all';
    return journal(unit, [
      ...['-n', count, ...(since === null ? [] : ['--since', since.replace(/T(.*)\..*/, ' $1 UTC')])],
      ...(own.follow === true ? ['-f'] : []),
      ...(own.json === true ? ['-o', 'json'] : []),
    ]);
  }
  throw new SinglepollError(
    EXIT.config,
    folder === null
      ? 'no log: no bot has been run by this user on this machine'
      : `no log at ${plain(recallLog(folder), 1_000)}: only a detached run writes one, or one with --log-file`,
    'singlepoll start -d -- COMMAND',
  );
}

function parseLines(value: unknown): number {
  if (value === 'all') return Number.POSITIVE_INFINITY;
  if (/^\d{1,15}$/.test(String(value))) return Number(value);
  throw new SinglepollError(
    EXIT.usage,
    `--lines is ${showValue(String(value))}: it takes a number, or all`,
    'singlepoll logs -n 100',
  );
}

/** As the log writes its times: they sort as texts. Null: any time. */
function parseSince(value: unknown): string | null {
  if (value === undefined) return null;
  const text = String(value);
  const ago = parseDuration(text.replace(/ ago$/, ''));
  const atMs = ago.ok ? Date.now() - ago.value : /^\d{4}-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(atMs)) return new Date(atMs).toISOString();
  throw new SinglepollError(
    EXIT.usage,
    `--since is ${showValue(text)}: it takes a time such as 10m (ago), 2h, 2026-11-21 or 2026-11-21T09:00`,
    'singlepoll logs --since 10m',
  );
}

/** Writes the lines that are not older than `since`, on request as JSON. */
function writeChosen(since: string, json: boolean): typeof write {
  let rest = Buffer.alloc(0);
  let isReached = false;
  return async (bytes) => {
    const all = Buffer.concat([rest, bytes]);
    const end = all.lastIndexOf('\n') + 1;
    rest = all.subarray(end);
    // A byte is a character here, so that what is no UTF-8 comes out as it went in.
    const lines = all.toString('latin1', 0, end).split('\n').slice(0, -1);
    const chosen = lines.flatMap((line) => {
      const [stamp = '', at = null, from = null] = STAMP.exec(line) ?? [];
      isReached ||= at !== null && at >= since;
      if (since !== '' && !isReached) return [];
      const text = Buffer.from(line.slice(stamp.length), 'latin1').toString();
      return json
        ? [Buffer.from(`${JSON.stringify({ at, from, text })}\n`)]
        : [Buffer.from(`${line}\n`, 'latin1')];
    });
    return chosen.length === 0 || (await write(Buffer.concat(chosen)));
  };
}

/** A unit writes to the journal of systemd, so its lines are read there. */
function journal({ name, system }: Found, options: readonly string[]): number {
  const words = ['--no-pager', ...(system ? [] : ['--user']), '-u', name, ...options];
  const { error, status } = spawnSync('journalctl', words, {
    stdio: 'inherit',
    env: toolEnvironment(process.env),
  });
  if (!error) return status ?? EXIT.ok;
  const hint = `journalctl ${words.join(' ')}`;
  throw new SinglepollError(EXIT.config, `journalctl can’t be run: ${error.message}`, hint);
}

/** The bot that is meant: named, else configured here, else the only one that runs or ever ran. */
async function botOf(invocation: Invocation): Promise<{ folder: string | null; botId: number | null }> {
  const name = namedBot(invocation);
  const known = (bot: Bot | null) => ({ folder: bot?.folder ?? null, botId: bot?.id ?? null });
  if (name !== null) return known(await botNamed(name));
  const { config, warnings } = await configure(invocation);
  warn(warnings);
  const { botId } = config;
  if (botId !== null) return { folder: findBotDir(botId), botId };
  const bots = await findBots();
  const running = bots.filter(({ runs }) => runs.length > 0);
  return known(theOnly(running.length > 0 ? running : bots));
}

/** False: nobody reads any more, as with `| head`. Rejects where it can't be written, as to a full disk. */
function write(bytes: Buffer): Promise<boolean> {
  return new Promise((resolve, reject) => {
    process.stdout.once('error', () => {});
    process.stdout.write(bytes, (error: NodeJS.ErrnoException | null | undefined) => {
      process.stdout.removeAllListeners('error').on('error', () => {});
      if (error && error.code !== 'EPIPE') reject(error);
      else resolve(!error);
    });
  });
}
