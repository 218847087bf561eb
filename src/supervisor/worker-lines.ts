/**
 * What the lines of a worker say: that it met a 409, and why it ended before it polled, where that can be told: it goes to the background,
 * asks for input, or its port is taken, and by whom.
 */
import { portHolder } from '../machine/sockets.ts';
import { plainCommand } from '../output/plain.ts';
import { asRoot } from '../shell.ts';
import type { Processes } from '../strays/processes.ts';

/** How Node, Python, gunicorn, Flask, Go, Ruby, PHP, Java and Deno say it. */
const IN_USE =
  /EADDRINUSE|AddrInUse|address already in use|connection in use|port \d+ (?:is|was) (?:already )?in use/i;
/** `:::3000`, `0.0.0.0:3000`, `('0.0.0.0', 8000)`, `port 4567`, `--port=8000`. */
const PORT = /(?:[:,]\s*|port[\s=:]+|-p\s+|server\s+)(\d{2,5})(?!\d|[.:]\d)/gi;

/** Null: they do not say so, or not which. `command` is looked into where the lines name none. */
export function takenPort(lines: readonly string[], command: readonly string[]): number | null {
  const said = lines.filter((line) => IN_USE.test(line));
  if (said.length === 0) return null;
  for (const text of [said.join('\n').replace(/\b\d\d:\d\d:\d\d\b/g, ''), command.join(' ')]) {
    const port = Number([...text.matchAll(PORT)].at(-1)?.[1]);
    if (port > 0 && port <= 65_535) return port;
  }
  return null;
}

const TO_BACKGROUND =
  /(?<=\s)(?:-D|--daemon\S*|--detach|--background|-d)(?=\s|$)|\b(?:nohup|setsid|disown)\b|&(?=\s*(?:$|;))|\bpm2 start\b/;

/** The question to who started a worker that ended with 0 at once. */
export function backgroundQuestion(command: readonly string[]): string {
  const word = TO_BACKGROUND.exec(command.join(' '))?.[0];
  const cure = word ? `leave out ${word}` : 'no -D, --daemon, nohup or &';
  return `it ended with 0 before it polled: does it go to the background? It must stay in the foreground: ${cure}`;
}

/** What Python and Ruby, Java, Node with a prompt library, and PHP say where they read from an empty stdin. */
const NO_INPUT =
  /\bEOFError\b|EOF when reading a line|NoSuchElementException: No line found|ExitPromptError|^Aborted[.!]$/;

export function inputWords(lines: readonly string[], isGiven: boolean): string | null {
  if (isGiven || !lines.some((line) => NO_INPUT.test(line))) return null;
  return 'it asked for input, and the input of a worker is empty. To type it on a terminal: singlepoll start --stdin -- COMMAND';
}

/** A sentence about who listens at the port; null: nobody does any more, or the system does not tell. */
export async function whoHasPort(port: number, processes: Pick<Processes, 'some'>): Promise<string | null> {
  const pid = await portHolder(port);
  if (pid === null) return null;
  if (pid === 'unseen')
    return `port ${port} is taken by a process that can’t be seen from here: ${asRoot(`ss -ltnp 'sport = :${port}'`)}`;
  if (pid === process.pid)
    return `port ${port} is taken by singlepoll itself: give --http or the worker another one`;
  const it = (await processes.some([pid])).get(pid);
  const command = it ? ` (${plainCommand(it.argv, 80)})` : '';
  return `port ${port} is taken by pid ${pid}${command}: kill ${pid}, or give the worker another port`;
}

export type ConflictKind = 'poller' | 'webhook';

/**
 * A 409 in the worker's output, in direct mode the only sign of another poller. Wordings: tdlib/telegram-bot-api Client.cpp (the
 * descriptions), and what grammY, Telegraf, node-telegram-bot-api, python-telegram-bot, aiogram, pyTelegramBotAPI print around them.
 */
export function conflictIn(text: string): ConflictKind | null {
  if (/can't use getUpdates method while webhook is active|terminated by setWebhook request/.test(text))
    return 'webhook';
  const poller =
    /terminated by other getUpdates|terminated by other long poll|HTTP Error 409: Conflict|TelegramConflictError/;
  return poller.test(text) ? 'poller' : null;
}

/** The Bot API's answer to a token that it does not know, in the words of the same libraries. */
export const UNAUTHORIZED = /401.{0,40}Unauthorized|InvalidToken|UnauthorizedError/;
