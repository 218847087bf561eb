/**
 * What a detached run tells the one who started it, over a pipe of its own: lines to show as they are, and one message when it is
 * ready. A line of a report never begins with a NUL, since control characters are escaped there.
 */

/** In the environment of the detached process: how its words may be painted. Not handed on to the worker. */
export const DETACHED_VARIABLE = '_SINGLEPOLL_DETACHED';
/** The pipe's descriptor there. */
export const LINK_FD = 3;

const MARK = '\0ready ';

export function readyLine(text: string): string {
  return `${MARK}${text.replaceAll('\n', ' ')}\n`;
}

/** The text of a message that says ready; null: a line to show. */
export function readyText(line: string): string | null {
  return line.startsWith(MARK) ? line.slice(MARK.length) : null;
}
