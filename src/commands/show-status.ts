/** Prints a status, as one JSON document or as a screen. */
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { StatusDocument } from '../core/status.ts';
import { statusScreen } from '../output/screen.ts';
import { painter } from '../output/words.ts';

/** How a status looks on this stream now. */
export async function screen(stream: {
  readonly isTTY?: boolean;
  readonly columns?: number;
}): Promise<(doc: StatusDocument) => string> {
  const paint = await painter(stream, process.env);
  return (doc) => statusScreen(doc, Date.now(), stream.columns ?? 100_000, paint);
}

export async function showStatus(doc: StatusDocument, json: boolean): Promise<void> {
  // Node's own stream is loaded only for a terminal: it takes as long as the supervisor's answer.
  const text = json ? JSON.stringify(doc) : (await screen(isatty(1) ? process.stdout : {}))(doc).trimEnd();
  print(`${text}\n`);
}

function print(text: string): void {
  const bytes = Buffer.from(text);
  let at = 0;
  try {
    while (at < bytes.length) at += writeSync(1, bytes, at);
  } catch {
    // A pipe that is full for now, or a reader that left: Node's stream knows what to do.
    process.stdout.write(bytes.subarray(at));
  }
}
