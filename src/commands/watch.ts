/**
 * `status --watch`: on a terminal it draws what the source shows, once a second for the ages in it, and obeys the keys; elsewhere,
 * and with --json, it prints a screen or a document again at each change.
 */
import type { Config } from '../config/load.ts';
import { EXIT } from '../errors.ts';
import { createRate, type LiveView, liveScreen } from '../output/screen.ts';
import { openTerminal, type Terminal } from '../output/terminal.ts';
import { painter } from '../output/words.ts';
import { askControl } from '../supervisor/control.ts';
import type { LiveDocument, StatusDocument } from '../supervisor/status.ts';
import { ORDER_WAIT_MS } from './orders.ts';
import { followStatus } from './status-source.ts';

const CTRL_C = '\x03';
const CTRL_D = '\x04';
const ESCAPE = '\x1b';
/** More at once was not typed but pasted. */
const TYPED_MAX = 4;
const MESSAGE_MS = 8_000;

/** `bot`: of --bot. Throws what `status` throws, before anything is shown. */
export async function watchStatus(
  config: Config,
  bot: string | null,
  render: (doc: StatusDocument) => string,
  json: boolean,
): Promise<number> {
  const { NO_COLOR, TERM } = process.env;
  if (!json && process.stdout.isTTY && !NO_COLOR && TERM !== 'dumb') return await watchLive(config, bot);
  return await watchStream(config, bot, render);
}

async function watchLive(config: Config, bot: string | null): Promise<number> {
  const paint = await painter(process.stdout, process.env);
  const keys = process.stdin.isTTY === true;
  let live: LiveDocument | null = null;
  const rate = createRate();
  let message: (LiveView['message'] & { readonly untilMs: number }) | null = null;
  let isRestarting = false;
  const left = new AbortController();
  let terminal: Terminal | null = null;
  let over!: () => void;
  let fail!: (error: unknown) => void;
  const ended = new Promise<void>((resolve, reject) => {
    over = resolve;
    fail = reject;
  });

  function draw(): void {
    if (!live || !terminal) return;
    const nowMs = Date.now();
    if (message && nowMs > message.untilMs) message = null;
    const { columns, rows } = terminal.size();
    const view = { doc: live.status, lines: live.lines, rate: rate.words(nowMs), message, keys };
    terminal.draw(liveScreen(view, nowMs, columns, rows, paint));
  }

  function show(it: LiveDocument): void {
    live = it;
    const { supervisor, polling } = it.status;
    rate.count(`${supervisor?.pid} ${supervisor?.startedAt}`, polling?.updates ?? 0, Date.now());
    // Only now: a mistake in the command is said on the screen that the user knows.
    terminal ??= openTerminal({ onKeys, onRedraw: draw, onEnd: over }, keys);
    draw();
  }

  function say(text: string, level: 'info' | 'good' | 'error', ms = MESSAGE_MS): void {
    message = { text, level, untilMs: Date.now() + ms };
    draw();
  }

  function onKeys(typed: string): void {
    if (typed.includes(CTRL_C)) over();
    if (typed.startsWith(ESCAPE) || typed.length > TYPED_MAX) return;
    for (const key of typed) {
      if (key === 'q' || key === 'Q' || key === CTRL_D) over();
      else if (key === 'r' || key === 'R') askRestart();
    }
  }

  function askRestart(): void {
    if (isRestarting) return;
    const control = source.control();
    if (control === null) {
      say('nothing to restart: no supervisor runs', 'error');
      return;
    }
    isRestarting = true;
    say('restarting the worker…', 'info', Number.POSITIVE_INFINITY);
    askControl(control, { cmd: 'restart' }, { timeoutMs: ORDER_WAIT_MS, signal: left.signal })
      .then(
        ({ ok, restarted, error }) =>
          ok ? say(`restarted: ${String(restarted)}`, 'good') : say(`not restarted: ${error}`, 'error'),
        () => say('not restarted: the supervisor has ended', 'error'),
      )
      .finally(() => {
        isRestarting = false;
      });
  }

  process.once('uncaughtException', fail);
  process.once('unhandledRejection', fail);
  const source = followStatus(config, bot, show);
  const clock = setInterval(draw, 1_000);
  try {
    await Promise.race([ended, source.failed]);
    return EXIT.ok;
  } finally {
    process.removeListener('uncaughtException', fail);
    process.removeListener('unhandledRejection', fail);
    clearInterval(clock);
    source.close();
    left.abort();
    (terminal as Terminal | null)?.close();
  }
}

async function watchStream(
  config: Config,
  bot: string | null,
  render: (doc: StatusDocument) => string,
): Promise<number> {
  let last = '';
  let full = false;
  let newest: StatusDocument | null = null;
  let over!: () => void;
  const ended = new Promise<void>((resolve) => {
    over = resolve;
  });

  function print(): void {
    const document = JSON.stringify(newest);
    // A reader that is slower than the changes gets the newest.
    if (newest === null || full || document === last) return;
    last = document;
    full = !process.stdout.write(`${render(newest)}\n`);
  }

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, over);
  process.stdout.on('error', over);
  process.stdout.on('drain', () => {
    full = false;
    print();
  });
  const source = followStatus(config, bot, ({ status }) => {
    newest = status;
    print();
  });
  try {
    await Promise.race([ended, source.failed]);
    return EXIT.ok;
  } finally {
    source.close();
  }
}
