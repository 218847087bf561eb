/** `status --all`: every bot that this user has run on this machine, the running ones by their own word. */
import type { StatusDocument } from '../core/status.ts';
import { statusExitCode } from '../core/status.ts';
import { EXIT } from '../errors.ts';
import { plain } from '../output/plain.ts';
import { STATE_WORDS } from '../output/screen.ts';
import { count, duration, type Paint, painter } from '../output/words.ts';
import { type KnownBot, knownBots, livingRuns, type Run, usernameOf } from './runs.ts';
import { hung, stopped } from './without-word.ts';

/** 0: all that run are well; 1: one is not; 3: none runs. */
export async function statusAll(json: boolean): Promise<number> {
  const bots = knownBots();
  const runs = await livingRuns(bots);
  const docs = bots.flatMap((bot) => docsOf(bot, runs));
  if (json) process.stdout.write(`${JSON.stringify(docs)}\n`);
  else process.stdout.write(table(docs, Date.now(), await painter(process.stdout, process.env)));
  const codes = docs.map(statusExitCode).filter((code) => code !== EXIT.notRunning);
  return codes.length === 0 ? EXIT.notRunning : Math.max(...codes);
}

function docsOf(bot: KnownBot, runs: readonly Run[]): StatusDocument[] {
  const mine = runs.filter(({ botId }) => botId === bot.id);
  const who = bot.id === 0 ? null : { id: bot.id, username: usernameOf(bot, runs) };
  if (mine.length > 0) return mine.map(({ doc }) => doc ?? hung(who));
  // What ran without a token has no name by which it could be started again.
  return who ? [stopped(who)] : [];
}

function table(docs: readonly StatusDocument[], nowMs: number, paint: Paint): string {
  if (docs.length === 0) return 'no bot has been run by this user on this machine\n';
  const rows = docs.map((doc) => {
    const { bot, supervisor, worker, polling, problems } = doc;
    const up = supervisor?.startedAt ? duration(Math.max(0, nowMs - Date.parse(supervisor.startedAt))) : '';
    return [
      bot?.id ? (bot.username ? `@${plain(bot.username, 64)} (${bot.id})` : String(bot.id)) : '(no token)',
      STATE_WORDS[doc.state].split(':')[0] ?? doc.state,
      supervisor ? String(supervisor.pid) : '',
      up,
      worker ? count(worker.restarts, 'restart') : '',
      polling ? count(polling.updates, 'update') : '',
      problems.map(({ code }) => code).join(' ') || (supervisor?.cwd ? plain(supervisor.cwd) : ''),
    ];
  });
  const head = ['BOT', 'STATE', 'PID', 'UP', 'RESTARTS', 'UPDATES', 'PROBLEMS OR FOLDER'];
  const widths = head.map((word, column) =>
    Math.max(word.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  const marks = docs.map((doc) =>
    paint(
      doc.state === 'stopped' ? 'tag' : doc.healthy ? 'good' : 'error',
      doc.state === 'stopped' ? '○' : '●',
    ),
  );
  return `  ${line(head)}\n${rows.map((row, i) => `${marks[i]} ${line(row)}\n`).join('')}`;
}
