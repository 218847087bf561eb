/** `singlepoll status`: of one bot or of all, once or live. */
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { isatty } from 'node:tty';
import type { Config } from '../config/load.ts';
import { findBotDir } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { plain } from '../output/plain.ts';
import { statusScreen } from '../output/screen.ts';
import { botName, stateWords } from '../output/status-rows.ts';
import { duration, isScreen, type Paint, painter } from '../output/words.ts';
import { CONTROL_SOCKET, statusAt } from '../supervisor/control.ts';
import { type StatusDocument, statusExitCode } from '../supervisor/status.ts';
import { configure, type Invocation, namedBot, warn } from './context.ts';

/** An answer takes some milliseconds. A supervisor that is slower than this is asked again, with patience. */
const USUAL_ANSWER_MS = 400;

export async function run(invocation: Invocation): Promise<number> {
  const { all, watch, history } = invocation.own;
  const json = invocation.own.json === true;
  if (history !== undefined && (all === true || watch === true))
    throw new SinglepollError(
      EXIT.usage,
      `--history and ${all === true ? '--all' : '--watch'} exclude each other`,
      'singlepoll status --history 1d',
    );
  if (all === true) {
    const isNamed = namedBot(invocation) !== null;
    if (watch !== true && !isNamed) return await statusOfAll(json);
    const other = isNamed ? 'the name of a bot' : '--watch';
    throw new SinglepollError(EXIT.usage, `--all and ${other} exclude each other`, 'singlepoll status --all');
  }
  const { config, warnings } = await configure(invocation);
  if (!json) warn(warnings);
  if (history !== undefined) return await (await import('./history.ts')).showHistory(config, history, json);
  if (watch === true) {
    const { watchLive, watchStream } = await import('./watch.ts');
    await (!json && isScreen(process.stdout)
      ? watchLive(config)
      : watchStream(config, json ? JSON.stringify : await screen(process.stdout)));
    return EXIT.ok;
  }
  // The supervisor's own word where one runs and answers, else what can be seen from here.
  const doc = (await usualAnswer(config)) ?? (await (await import('./look.ts')).thoroughStatus(config));
  // Node's own stream is loaded only for a terminal: it takes as long as the supervisor's answer.
  const show = json ? null : await screen(isatty(1) ? process.stdout : {});
  print(`${show ? show(doc).trimEnd() : JSON.stringify(doc)}\n`);
  return statusExitCode(doc);
}

/** The word of the supervisor at this bot's usual control socket, asked without what takes time to load. Null: no answer. */
export async function usualAnswer(
  { botId }: Config,
  timeoutMs = USUAL_ANSWER_MS,
): Promise<StatusDocument | null> {
  try {
    const folder = findBotDir(botId);
    return folder === null ? null : await statusAt(join(folder, CONTROL_SOCKET), timeoutMs);
  } catch {
    return null;
  }
}

/** How a status looks on this stream now. A terminal that does not know its width (of a script, or docker exec) says 0. */
async function screen(stream: { readonly isTTY?: boolean; readonly columns?: number }) {
  const paint = await painter(stream);
  return (doc: StatusDocument) => statusScreen(doc, Date.now(), stream.columns || 100_000, paint);
}

function print(text: string): void {
  const bytes = Buffer.from(text);
  let at = 0;
  try {
    while (at < bytes.length) at += writeSync(1, bytes, at);
  } catch {
    // A pipe that is full for now, or a reader that left: Node's stream knows what to do.
    process.stdout.write(bytes.subarray(at));
  }
}

/** `--all`: every bot that this user has run here. 0: all that run are well; 1: one is not; 3: none runs. */
export async function statusOfAll(json: boolean): Promise<number> {
  const [{ findBots, runsOfOthers }, { statusesOf }] = await Promise.all([
    import('./find.ts'),
    import('./look.ts'),
  ]);
  const [bots, others] = await Promise.all([findBots(), runsOfOthers()]);
  const docs = [...bots.flatMap(statusesOf), ...others.flatMap(({ doc }) => doc ?? [])];
  const paint = await painter(process.stdout);
  process.stdout.write(json ? `${JSON.stringify(docs)}\n` : table(docs, paint));
  const codes = docs.map(statusExitCode).filter((code) => code !== EXIT.notRunning);
  return codes.length === 0 ? EXIT.notRunning : Math.max(...codes);
}

function table(docs: readonly StatusDocument[], paint: Paint): string {
  if (docs.length === 0) return 'no bot has been run by this user on this machine\n';
  const head = ['BOT', 'STATE', 'PID', 'UP', 'RESTARTS', 'UPDATES', 'PROBLEMS OR FOLDER'];
  const rows = [head, ...docs.map(cells)];
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const marks = docs.map(({ state, healthy }) =>
    state === 'stopped' ? paint('tag', '○') : paint(healthy ? 'good' : 'error', '●'),
  );
  const lines = rows.map((row, index) => {
    const line = row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ');
    return `${index === 0 ? ' ' : marks[index - 1]} ${line.trimEnd()}\n`;
  });
  return lines.join('');
}

function cells(doc: StatusDocument): string[] {
  const { bot, supervisor, worker, polling, problems } = doc;
  const upMs = supervisor?.startedAt ? Math.max(0, Date.now() - Date.parse(supervisor.startedAt)) : null;
  return [
    `${bot ? botName(doc) : '(no token)'}${supervisor?.user ? ` of ${supervisor.user}` : ''}`,
    stateWords(doc).split(':')[0] ?? '',
    supervisor ? String(supervisor.pid) : '',
    upMs === null ? '' : duration(upMs),
    worker ? String(worker.restarts) : '',
    polling ? String(polling.updates) : '',
    problems.map(({ code }) => code).join(' ') || (supervisor?.cwd ? plain(supervisor.cwd) : ''),
  ];
}
