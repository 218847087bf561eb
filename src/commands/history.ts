/** `singlepoll status --history`: what happened in the last days, by the supervisor's memory, else by the file that the last one has left. */
import type { Config } from '../config/load.ts';
import { findBotDir } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { historyDocument, historyScreen } from '../output/history-view.ts';
import { botName } from '../output/status-rows.ts';
import { painter } from '../output/words.ts';
import { askControl } from '../supervisor/control.ts';
import {
  continued,
  DAY_MS,
  type History,
  historyOf,
  KEPT_MS,
  MINUTE_MS,
  summarise,
} from '../supervisor/history.ts';
import { recallStart } from '../supervisor/memory.ts';
import { readHistory } from '../supervisor/recorder.ts';
import { timeOf } from './context.ts';
import { findSupervisor, type Supervisor } from './find.ts';

const ANSWER_MS = 2_000;

/** `value`: of --history. Throws 64 for what is no time, 3 where nothing is known. */
export async function showHistory(config: Config, value: unknown, json: boolean): Promise<number> {
  const hint = 'singlepoll status --history 12h    # of another bot: singlepoll status BOT --history 12h';
  const spanMs = value === true ? DAY_MS : timeOf('--history', value, [MINUTE_MS, KEPT_MS], hint);
  const supervisor = await findSupervisor(config);
  const id = supervisor?.doc?.bot?.id ?? config.botId;
  const history = (await rememberedBy(supervisor)) ?? storedHistory(id);
  if (history === null)
    throw new SinglepollError(
      EXIT.notRunning,
      `no history is kept of ${id === null ? 'this bot' : `bot ${id}`}: no supervisor has polled for it with this state folder`,
      'singlepoll start -- COMMAND    # keeps it from then on; not with --sandbox or POLLING_ENABLED=0',
    );
  const bot = supervisor?.doc?.bot ?? { id, username: recallStart(findBotDir(id) ?? '')?.username ?? null };
  const summary = summarise(history, spanMs);
  const columns = process.stdout.columns || 100_000;
  const paint = await painter(process.stdout);
  const text = json
    ? `${JSON.stringify(historyDocument(bot, summary))}\n`
    : historyScreen(botName({ bot }), summary, columns, paint);
  process.stdout.write(text);
  return EXIT.ok;
}

/** The history up to now, by the file that the last supervisor has left. Null: it has left none. */
export function storedHistory(botId: number | null): History | null {
  const folder = findBotDir(botId);
  const stored = folder === null ? null : readHistory(folder);
  return stored && continued(stored, Date.now());
}

/** Null: it does not answer, is of an older release, or keeps none. */
async function rememberedBy(supervisor: Supervisor | null): Promise<History | null> {
  if (!supervisor?.control) return null;
  const answer = await askControl(supervisor.control, { cmd: 'history' }, { timeoutMs: ANSWER_MS }).catch(
    () => null,
  );
  return historyOf(answer?.history);
}
