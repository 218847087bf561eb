/**
 * `status --watch`: the supervisor's own word as it comes, and where none runs or it hangs, what can be seen from here; through the end
 * of a supervisor to the next. On a terminal it is drawn, once a second for the ages in it, and obeys the keys; elsewhere, and
 * with --json, a screen or a document is printed again at each change.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { SinglepollError } from '../errors.ts';
import { createRate, type LiveView, liveScreen } from '../output/screen.ts';
import { openTerminal, type Terminal } from '../output/terminal.ts';
import { painter } from '../output/words.ts';
import { askControl, NoAnswer } from '../supervisor/control.ts';
import { DAY_MS, summarise } from '../supervisor/history.ts';
import {
  completeStatus,
  type LiveDocument,
  type LiveLine,
  type StatusDocument,
} from '../supervisor/status.ts';
import { findSupervisor } from './find.ts';
import { storedHistory } from './history.ts';
import { hung, thoroughStatus } from './look.ts';
import { ORDER_WAIT_MS } from './orders.ts';

const CTRL_C = '\x03';
const CTRL_D = '\x04';
const ESCAPE = '\x1b';
/** More at once was not typed but pasted. */
const TYPED_MAX = 4;
const MESSAGE_MS = 8_000;
/** A supervisor answers within a second. */
const SILENT_MS = 3_000;
/** Where none runs, it is looked for so often; and whatever else there is to be seen (strays, the webhook) more rarely. */
const LOOK_EVERY_MS = 400;
const LOOK_AROUND_EVERY_MS = 5_000;

/** Calls `show` whenever there may be something new, with where the supervisor listens. Ends when `over` aborts; throws what the first look throws. */
async function follow(
  given: Config,
  over: AbortSignal,
  show: (live: LiveDocument, control: string | null) => void,
): Promise<void> {
  let config = given;
  let lines: readonly LiveLine[] = [];
  let day: LiveDocument['day'] = null;
  let isShown = false;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  const present = (status: StatusDocument, control: string | null) => {
    if (over.aborted) return;
    // The only one that ran when the watching began: no other is followed later.
    if (config.botId === null && status.bot?.id) config = { ...config, botId: status.bot.id };
    isShown = true;
    const stored = control === null ? storedHistory(status.bot?.id ?? null) : null;
    if (control === null) day = stored && summarise(stored, DAY_MS);
    show({ status, lines, day }, control);
  };
  while (!over.aborted) {
    try {
      const control = (await findSupervisor(config))?.control ?? null;
      if (control !== null && (await listen(control))) lookedAtMs = Number.NEGATIVE_INFINITY;
      else if (performance.now() - lookedAtMs > LOOK_AROUND_EVERY_MS) {
        present(await thoroughStatus(config), null);
        lookedAtMs = performance.now();
      }
    } catch (error) {
      // `status` says what is wrong with one that can't be asked.
      if (!isShown && error instanceof SinglepollError) throw error;
      if (!isShown) present(await thoroughStatus(config), null);
    }
    if (lookedAtMs > 0) await pause(LOOK_EVERY_MS, undefined, { signal: over }).catch(() => {});
  }

  /** True: it has told something before it ended. */
  async function listen(control: string): Promise<boolean> {
    let last: StatusDocument | null = null;
    const onLive = (it: object) => {
      const live = it as LiveDocument;
      last = completeStatus(live.status);
      ({ lines, day } = live);
      present(last, control);
    };
    while (!over.aborted) {
      try {
        await askControl(control, { cmd: 'watch' }, { timeoutMs: SILENT_MS, signal: over, onLive });
        break;
      } catch (error) {
        if (!(error instanceof NoAnswer) || !last || over.aborted) break;
        present(hung(last), control);
      }
    }
    return last !== null;
  }
}

/** Drawn on a terminal. Throws what `status` throws, before anything is shown. */
export async function watchLive(config: Config): Promise<void> {
  const paint = await painter(process.stdout);
  const keys = process.stdin.isTTY === true;
  const over = new AbortController();
  let live: LiveDocument | null = null;
  const rateOf = createRate();
  let control: string | null = null;
  let message: (LiveView['message'] & { readonly untilMs: number }) | null = null;
  let isRestarting = false;
  let terminal: Terminal | null = null;
  const broken = new Promise<never>((_, reject) => {
    for (const event of ['uncaughtException', 'unhandledRejection']) process.once(event, reject);
  });

  function draw(): void {
    if (!live || !terminal) return;
    const nowMs = Date.now();
    if (message && nowMs > message.untilMs) message = null;
    const { columns, rows } = terminal.size();
    const { supervisor, polling } = live.status;
    const rate = rateOf(`${supervisor?.pid} ${supervisor?.startedAt}`, polling?.updates ?? 0, nowMs);
    terminal.draw(liveScreen({ ...live, rate, message, keys }, nowMs, columns, rows, paint));
  }

  function show(it: LiveDocument, at: string | null): void {
    live = it;
    control = at;
    // Only now: a mistake in the command is said on the screen that the user knows.
    terminal ??= openTerminal({ onKeys, onRedraw: draw, onEnd: () => over.abort() }, keys);
    draw();
  }

  function say(text: string, level: 'info' | 'good' | 'error', ms = MESSAGE_MS): void {
    message = { text, level, untilMs: Date.now() + ms };
    draw();
  }

  function onKeys(typed: string): void {
    if (typed.includes(CTRL_C)) over.abort();
    if (typed.startsWith(ESCAPE) || typed.length > TYPED_MAX) return;
    for (const key of typed.toLowerCase()) {
      if (key === 'q' || key === CTRL_D) over.abort();
      else if (key === 'r' && !isRestarting) void askRestart();
    }
  }

  async function askRestart(): Promise<void> {
    if (control === null) return say('nothing to restart: no supervisor runs', 'error');
    isRestarting = true;
    say('restarting the worker…', 'info', Number.POSITIVE_INFINITY);
    const options = { timeoutMs: ORDER_WAIT_MS, signal: over.signal };
    const answer = await askControl(control, { cmd: 'restart' }, options).catch(() => null);
    isRestarting = false;
    if (answer?.ok) say(`restarted: ${String(answer.restarted)}`, 'good');
    else say(`not restarted: ${answer?.error ?? 'the supervisor has ended'}`, 'error');
  }

  const clock = setInterval(draw, 1_000);
  try {
    await Promise.race([follow(config, over.signal, show), broken]);
  } finally {
    clearInterval(clock);
    over.abort();
    (terminal as Terminal | null)?.close();
  }
}

/** Printed again at each change. Throws as well. */
export async function watchStream(config: Config, render: (doc: StatusDocument) => string): Promise<void> {
  const over = new AbortController();
  const leave = () => over.abort();
  let last = '';
  let isFull = false;
  let newest: StatusDocument | null = null;

  function print(): void {
    const document = JSON.stringify(newest);
    // A reader that is slower than the changes gets the newest.
    if (newest === null || isFull || document === last) return;
    last = document;
    isFull = !process.stdout.write(`${render(newest)}\n`);
  }

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, leave);
  process.stdout.on('error', leave);
  process.stdout.on('drain', () => {
    isFull = false;
    print();
  });
  await follow(config, over.signal, ({ status }) => {
    newest = status;
    print();
  });
}
