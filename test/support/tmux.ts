// A real terminal: one pane of a tmux server of the test's own, with a shell in it.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Bed } from './bed.ts';
import { until } from './wait.ts';

export type Tmux = Awaited<ReturnType<typeof openTmux>>;

/** The shell is bash. Ends with the test: its server carries the cookie. */
export async function openTmux(b: Bed, columns: number, rows: number) {
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
  const shows = (pattern: RegExp) => until(`${pattern} on the screen`, () => pattern.test(seen()), { seen });
  await shows(/^bash\S*[#$]/m);
  return {
    /** Types text, then presses Enter. */
    type(line: string): void {
      tmux('send-keys', '-t', 'test', '-l', line);
      tmux('send-keys', '-t', 'test', 'Enter');
    },
    /** Presses keys by their names of tmux: `q`, `C-c`. */
    press: (...keys: string[]) => void tmux('send-keys', '-t', 'test', ...keys),
    resize: (x: number, y: number) =>
      void tmux('resize-window', '-t', 'test', '-x', String(x), '-y', String(y)),
    /** The rows as they are seen, with blanks at their ends cut off. */
    rows: () => seen().replace(/\n$/, '').split('\n'),
    seen,
    /** What the programs in it have made of it. */
    modes() {
      const flags = tmux('display', '-t', 'test', '-p', '#{alternate_on} #{cursor_flag} #{wrap_flag}');
      const [alternate, cursor, wraps] = flags.split(' ').map((it) => Number(it) === 1);
      return { alternate, cursor, wraps };
    },
    /** Closes the terminal, as one closes a window. */
    end: () => void tmux('kill-server'),
    /** Waits until the screen matches. */
    until: shows,
  };
}
