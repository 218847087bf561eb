/**
 * Finds the command in a Procfile: the `worker:` line, else `bot:`, else `web:`. Like foreman and honcho it goes to a shell,
 * because such lines use variables, pipes and `&&`.
 */

const PREFERRED = ['worker', 'bot', 'web'] as const;

export interface ProcfileCommand {
  readonly argv: readonly string[];
  /** Which line was taken. */
  readonly process: string;
}

/** The command of a Procfile's text, or null with the process names that it does have. */
export function parseProcfile(text: string): {
  command: ProcfileCommand | null;
  processes: readonly string[];
} {
  const lines = new Map<string, string>();
  for (const row of text.split(/\r\n|\n|\r/)) {
    const match = /^\s*([A-Za-z0-9_-]+)\s*:\s*(\S.*)$/.exec(row);
    if (match) lines.set(match[1]!, match[2]!.trimEnd());
  }
  for (const process of PREFERRED) {
    const line = lines.get(process);
    if (line !== undefined) {
      return { command: { argv: ['sh', '-c', line], process }, processes: [...lines.keys()] };
    }
  }
  return { command: null, processes: [...lines.keys()] };
}
