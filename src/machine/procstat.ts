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

// Field n of the manual, counted from the state (3): state, ppid, pgrp, session, tty_nr, (tpgid), flags, (9-21), starttime,
// (23-25), startcode to startstack, (29-47), arg_start to env_end. One pass takes a third less time than cutting the line up.
const FIELDS =
  /(\S) (\d+) (-?\d+) (-?\d+) (-?\d+) \S+ (\d+) (?:\S+ ){12}(\d+)(?: (?:\S+ ){3}(\S+ \S+ \S+) (?:\S+ ){19}(\S+ \S+ \S+ \S+))?/y;

/** The facts of one stat line, or null when the text is none (the process left while it was read). */
export function parseProcStat(text: string): ProcStat | null {
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  if (open < 0 || close < open) return null;
  FIELDS.lastIndex = close + 2;
  const match = FIELDS.exec(text);
  if (!match) return null;
  const [, state, ppid, pgid, sid, tty, flags, startId, code = '', data = ''] = match;
  const comm = text.slice(open + 1, close);
  return {
    comm,
    state: state!,
    ppid: Number(ppid),
    pgid: Number(pgid),
    sid: Number(sid),
    tty: Number(tty),
    kernel: (Number(flags) & PF_KTHREAD) !== 0,
    startId: startId!,
    imageId: `${code} ${data} ${comm}`,
  };
}
