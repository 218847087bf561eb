/** Colour by what a text means. Apart from the report, so that `status` needs none of it without a terminal. */

export type Level = 'info' | 'good' | 'warn' | 'error';

/** Colours a piece of text by level; the identity where colour is off. */
export type Paint = (level: Level | 'tag', text: string) => string;

/** chalk is loaded only where it is used: a service's log has no colour, and so no chalk. */
export async function painter(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): Promise<Paint> {
  const colour = stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';
  if (!colour) return (_level, text) => text;
  const { Chalk } = await import('chalk');
  const chalk = new Chalk({ level: 1 });
  const paints = { tag: chalk.dim, good: chalk.green, warn: chalk.yellow, error: chalk.red, info: null };
  return (level, text) => paints[level]?.(text) ?? text;
}
