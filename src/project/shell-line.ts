/** Splits a line of shell into the commands in it, as far as that can be told without running it. */
import { parse } from 'shell-quote';

/** `a=1 x -f "y z" && exec z > log` → [['x', '-f', 'y z'], ['z']]. Variables stay as `$NAME`. */
export function commandsOf(line: string): string[][] {
  const commands: string[][] = [];
  let words: string[] = [];
  let skip = false;
  const end = () => {
    const command = withoutPrefix(words);
    if (command.length > 0) commands.push(command);
    words = [];
  };
  let entries: ReturnType<typeof parse>;
  try {
    // ${NAME:-4}: the default is what runs unless somebody says otherwise.
    const settled = line.replace(/\$\{\w+:?-([\w./-]*)\}/g, '$1');
    entries = parse(settled, (name) => `$${name}`);
  } catch {
    return [line.trim().split(/\s+/)];
  }
  for (const entry of entries as (string | { op?: string; pattern?: string; comment?: string })[]) {
    if (typeof entry === 'string') {
      if (skip) skip = false;
      else words.push(entry);
    } else if (entry.comment !== undefined) break;
    else if (entry.op === 'glob') words.push(entry.pattern ?? '*');
    else if (/[<>]/.test(entry.op ?? '')) {
      skip = true;
      // `2>`: the number is no word of the command.
      if (/^\d$/.test(words.at(-1) ?? '')) words.pop();
    } else end();
  }
  end();
  return commands;
}

const WRAPPERS = new Set([
  'exec',
  'env',
  'nohup',
  'time',
  'sudo',
  'command',
  'tini',
  'dumb-init',
  'catatonit',
  '/sbin/tini',
  '/usr/bin/tini',
  '/usr/bin/dumb-init',
  'nice',
  'ionice',
  'chronic',
  'cross-env',
  'cross-env-shell',
  'dotenv',
  'heroku-php-apache2',
  'xvfb-run',
  'stdbuf',
  'setsid',
  'then',
  'do',
  'else',
  'if',
  'while',
  'until',
  '!',
  '@',
  '-',
]);

/** Takes off assignments and wrappers that only run the rest. */
export function withoutPrefix(words: readonly string[]): string[] {
  let at = 0;
  while (at < words.length) {
    const word = words[at]!;
    if (/^[A-Za-z_]\w*=/.test(word)) at += 1;
    else if (WRAPPERS.has(word)) {
      at += 1;
      while (at < words.length && /^-/.test(words[at]!) && words[at] !== '--') at += 1;
      if (words[at] === '--') at += 1;
    } else break;
  }
  return words.slice(at);
}

/** Assignments in front of a command: `FLASK_DEBUG=1 flask run`. */
export function assignmentsOf(line: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const match of line.matchAll(/(?:^|[\s;&])([A-Z_][A-Z0-9_]*)=("[^"]*"|'[^']*'|[^\s;&]*)/g)) {
    found[match[1]!] = match[2]!.replace(/^["']|["']$/g, '');
  }
  return found;
}
