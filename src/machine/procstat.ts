/**
 * Reads one /proc/PID/stat line. Owns the field numbers (proc_pid_stat(5)) and nothing else.
 * The program's name stands in parentheses and may itself hold `)`, spaces and newlines: the last `)` ends it.
 */

const PF_KTHREAD = 0x00200000;

export interface ProcStat {
  readonly comm: string;
  readonly state: string;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  readonly tty: number;
  readonly kernel: boolean;
  /** Clock ticks after boot, as a string: only ever compared. */
  readonly startId: string;
  /**
   * Changes when the process executes another program, however it is named: the kernel lays out code, stack,
   * arguments and environment anew. Empty numbers (all 0) where the process may not be inspected.
   */
  readonly imageId: string;
}

/** The facts of one stat line, or null when the text is none (the process left while it was read). */
export function parseProcStat(text: string): ProcStat | null {
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  if (open < 0 || close < open) return null;
  // Field n of the manual is fields[n - 3].
  const fields = text.slice(close + 2).split(' ');
  if (fields.length < 20) return null;
  const comm = text.slice(open + 1, close);
  return {
    comm,
    state: fields[0]!,
    ppid: Number(fields[1]),
    pgid: Number(fields[2]),
    sid: Number(fields[3]),
    tty: Number(fields[4]),
    kernel: (Number(fields[6]) & PF_KTHREAD) !== 0,
    startId: fields[19]!,
    imageId: `${fields[23]} ${fields[25]} ${fields[45]} ${fields[46]} ${fields[47]} ${fields[48]?.trimEnd()} ${comm}`,
  };
}
