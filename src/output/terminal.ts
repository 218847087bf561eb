/** A terminal that is drawn on as a whole. Whatever ends or stops this process, short of SIGKILL, finds the terminal as it was. */
import { writeFileSync } from 'node:fs';
import { leaveGoneTerminal } from './sink.ts';

export type Terminal = ReturnType<typeof openTerminal>;

interface TerminalListener {
  /** A key, or what came with it at once; not called for Ctrl-Z. */
  readonly onKeys: (keys: string) => void;
  /** The size has changed, or the screen is ours again: draw. */
  readonly onRedraw: () => void;
  /** There is no terminal any more, or a signal asks to end. */
  readonly onEnd: () => void;
}

// xterm: alternate screen, cursor hidden, no wrapping (a character that is wider than we thought must not break the lines below).
const ALTERNATE = '\x1b[?1049h';
const MODES = '\x1b[?25l\x1b[?7l\x1b[2J';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const CTRL_Z = '\x1a';
const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
/** Where nobody could continue us (no shell with jobs), the kernel does not stop us. */
const NOT_STOPPED_MS = 100;

/** `keys`: whether keys are read, so that nothing that is typed shows on the screen. */
export function openTerminal({ onKeys, onRedraw, onEnd }: TerminalListener, keys: boolean) {
  const { stdin, stdout } = process;
  let isOurs = false;
  let isClosed = false;

  function enter(): void {
    if (isClosed) return;
    // A shell may have set the modes as it likes them, unknown to Node, which sets none that it has set before.
    setRaw(false);
    setRaw(true);
    // A second time, the terminal would keep the cursor of the wrong screen.
    write(isOurs ? MODES : ALTERNATE + MODES);
    isOurs = true;
  }

  function leave(): void {
    if (!isOurs) return;
    isOurs = false;
    write(LEAVE);
    setRaw(false);
  }

  function setRaw(isRaw: boolean): void {
    try {
      if (keys) stdin.setRawMode(isRaw);
    } catch {
      // Gone.
    }
  }

  /** By the end of this call it has left us, or never will. */
  function write(text: string): void {
    try {
      writeFileSync(1, text);
    } catch {
      // Gone, or full: a frame will tell.
    }
  }

  function stop(): void {
    leave();
    // With the default action the kernel does what a user expects of Ctrl-Z.
    process.removeListener('SIGTSTP', stop);
    process.kill(process.pid, 'SIGTSTP');
    setTimeout(again, NOT_STOPPED_MS);
  }

  function again(): void {
    process.removeListener('SIGTSTP', stop);
    if (isClosed) return;
    process.on('SIGTSTP', stop);
    enter();
    onRedraw();
  }

  function read(data: Buffer): void {
    const text = data.toString('latin1');
    // To all of the pipeline, as the terminal itself would.
    if (text.includes(CTRL_Z)) process.kill(0, 'SIGTSTP');
    else onKeys(text);
  }

  for (const signal of ENDING) process.on(signal, onEnd);
  process.on('SIGTSTP', stop).on('SIGCONT', again).on('exit', leave);
  stdout.on('error', onEnd).on('resize', onRedraw);
  if (keys) stdin.on('data', read).on('error', onEnd).on('end', onEnd);
  enter();

  return {
    /** In one write, each line cleared behind its text. */
    draw(lines: readonly string[]): void {
      if (isOurs) stdout.write(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join('\r\n')}\x1b[J`);
    },
    size() {
      const { columns, rows } = stdout;
      // The last column stays free: clearing behind a character there would clear it.
      return { columns: (columns > 0 ? columns : 80) - 1, rows: rows > 0 ? rows : 24 };
    },
    /** Puts the terminal back. May be called again. */
    close(): void {
      if (isClosed) return;
      leave();
      isClosed = true;
      for (const signal of ENDING) process.removeListener(signal, onEnd);
      process.removeListener('SIGTSTP', stop).removeListener('SIGCONT', again);
      stdout.removeListener('resize', onRedraw);
      if (keys) stdin.removeListener('data', read).pause().unref();
      leaveGoneTerminal();
    },
  };
}
