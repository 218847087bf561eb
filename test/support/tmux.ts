// A real terminal: one pane of a tmux server of the test's own, with a shell in it.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Bed } from './bed.ts';
import { until } from './wait.ts';

export interface Tmux {
  /** Types text, then presses Enter. */
  type(line: string): void;
  /** Presses keys by their names of tmux: `q`, `C-c`. */
  press(...keys: string[]): void;
  resize(columns: number, rows: number): void;
  /** The rows as they are seen, with blanks at their ends cut off. */
  rows(): string[];
  seen(): string;
  /** What the programs in it have made of it. */
  modes(): { alternate: boolean; cursor: boolean; wraps: boolean };
  /** Closes the terminal, as one closes a window. */
  end(): void;
  /** Waits until the screen matches. */
  until(pattern: RegExp, ms?: number): Promise<void>;
}

/** The shell is bash. Ends with the test: its server carries the cookie. */
export async function openTmux(b: Bed, columns: number, rows: number): Promise<Tmux> {
  const socket = join(b.dir, 'tmux-terminal');
  const tmux = (...args: string[]): string => {
    const { stdout, stderr, status } = spawnSync('tmux', ['-u', '-S', socket, '-f', '/dev/null', ...args], {
      cwd: b.project,
      env: { ...b.env, TERM: 'xterm-256color' },
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`tmux ${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  const size = ['-x', String(columns), '-y', String(rows)];
  tmux('new-session', '-d', '-s', 'test', ...size, 'bash --norc --noprofile');
  b.own(Number(tmux('display', '-p', '#{pid}')));
  tmux('set', '-g', 'window-size', 'manual');
  tmux('resize-window', '-t', 'test', ...size);
  const seen = () => tmux('capture-pane', '-t', 'test', '-p');
  const self: Tmux = {
    type(line) {
      tmux('send-keys', '-t', 'test', '-l', line);
      tmux('send-keys', '-t', 'test', 'Enter');
    },
    press: (...keys) => void tmux('send-keys', '-t', 'test', ...keys),
    resize: (x, y) => void tmux('resize-window', '-t', 'test', '-x', String(x), '-y', String(y)),
    rows: () => seen().replace(/\n$/, '').split('\n'),
    seen,
    modes() {
      const [alternate, cursor, wraps] = tmux(
        'display',
        '-t',
        'test',
        '-p',
        '#{alternate_on} #{cursor_flag} #{wrap_flag}',
      )
        .trim()
        .split(' ')
        .map((it) => it === '1');
      return { alternate: alternate === true, cursor: cursor === true, wraps: wraps === true };
    },
    end: () => void tmux('kill-server'),
    until: async (pattern, ms = 15_000) =>
      void (await until(`${pattern} on the screen`, () => pattern.test(seen()), { ms, seen })),
  };
  await self.until(/^bash\S*[#$]/m);
  return self;
}
