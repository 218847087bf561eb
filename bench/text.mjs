// What workers print, in lines of exactly 100 bytes.
import { closeSync, openSync, writeSync } from 'node:fs';

/** No bot's token; only its shape counts. */
export const TOKEN = '7312345678:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1';

const line = (text) => `${text.padEnd(99, ' and so on').slice(0, 99)}\n`;

export const logLine = line('2024-05-05 12:34:56,789 INFO worker: update 1234567 handled in 0.0034 s');

/** Kinds of text that are masked at different speeds. */
export const kinds = {
  'log lines': logLine,
  'words only': line('INFO worker: got an update from the chat, handled it in no time'),
  'JSON logs': line(
    '{"level":30,"time":1714900000123,"pid":4242,"hostname":"h1","id":987654321,"ms":12.5,"msg":"',
  ),
  'a token in each line': line(`2024-05-05 12:34:56 POST https://api.telegram.org/bot${TOKEN}/getMe`),
};

/** Writes `count` (a multiple of 10,000) equal lines. */
export function writeLines(path, text, count) {
  const block = text.repeat(10_000);
  const fd = openSync(path, 'w');
  for (let left = count; left > 0; left -= 10_000) writeSync(fd, block);
  closeSync(fd);
}
