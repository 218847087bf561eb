/** The journal of systemd as where our own words go: it takes the priority of a line from its beginning (sd-daemon(3)). */
import { fstatSync } from 'node:fs';
import type { Level } from './words.ts';

const PRIORITY: Readonly<Partial<Record<Level, string>>> = { error: '<3>', warn: '<4>' };

/** What a line of this level begins with on stderr: nothing where that is not the journal (systemd.exec(5), $JOURNAL_STREAM). */
export function journalMarks(): (level: Level) => string {
  const { JOURNAL_STREAM: stream } = process.env;
  if (!stream) return () => '';
  try {
    const { dev, ino } = fstatSync(2);
    return stream === `${dev}:${ino}` ? (level) => PRIORITY[level] ?? '' : () => '';
  } catch {
    return () => '';
  }
}
