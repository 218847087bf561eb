/** The machine: can singlepoll see processes, keep its state, trust the clock, and reach the Bot API? Looks only. */
import { accessSync, constants, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { exists, findStateDir, stateDirPath } from '../config/state-dir.ts';
import { SinglepollError } from '../errors.ts';
import { isOpenToOthers, modeText } from '../files.ts';
import { isProgramInPath } from '../machine/executable.ts';
import { hasProcfs } from '../machine/procfs.ts';
import type { ProjectFile } from '../project/files.ts';
import { isExample } from '../project/files.ts';
import { isEnvFile } from '../project/kinds.ts';
import type { Finding } from './finding.ts';
import { tokensIn } from './tokens.ts';

export interface Check {
  readonly check: 'processes' | 'state-folder' | 'env-permissions' | 'dns' | 'api-root' | 'clock';
  /** Null: not looked at. */
  readonly ok: boolean | null;
  readonly message: string;
  /** Null where all is well. */
  readonly cure: string | null;
  readonly file?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Findings of what is not well. */
export function failures(checks: readonly Check[]): Finding[] {
  return checks.flatMap(({ check, ok, message, cure, file }) =>
    ok === false ? [{ rule: check, file: file ?? null, line: null, why: message, cure: cure ?? '' }] : [],
  );
}

export function checkProcesses(env: Environment): Check {
  if (hasProcfs()) {
    return judgeProc(mounts(), process.geteuid?.() === 0);
  }
  if (process.platform === 'linux')
    return {
      check: 'processes',
      ok: false,
      message: '/proc is not mounted, or shows no processes: singlepoll can’t see who polls',
      cure: 'mount -t proc proc /proc    # as root',
    };
  const ps = isProgramInPath('ps', env);
  return {
    check: 'processes',
    ok: ps,
    message: ps ? 'ps lists the processes' : 'there is no ps: strays can’t be seen',
    cure: ps ? null : 'install ps (Debian: apt-get install procps)',
  };
}

/** `text` of /proc/self/mounts. */
export function judgeProc(text: string, root: boolean): Check {
  const options = /^\S+ \/proc proc (\S+)/m.exec(text)?.[1] ?? '';
  const hidden = /hidepid=(?:[12]|noaccess|invisible)/.test(options) && !root;
  return {
    check: 'processes',
    ok: !hidden,
    message: hidden
      ? '/proc is mounted with hidepid: strays of other users can’t be seen'
      : '/proc lists the processes',
    cure: hidden
      ? 'run singlepoll as the user that runs the strays, or: sudo mount -o remount,hidepid=0 /proc'
      : null,
  };
}

function mounts(): string {
  try {
    return readFileSync('/proc/self/mounts', 'utf8');
  } catch {
    return '';
  }
}

export function checkStateFolder(env: Environment): Check {
  const path = stateDirPath(env);
  const refuse = (message: string, cure: string): Check => ({
    check: 'state-folder',
    ok: false,
    message,
    cure,
  });
  try {
    const found = findStateDir(env);
    // Where it is not there yet, it has to be makeable: the nearest folder above that exists decides.
    let at = found?.path ?? dirname(path);
    while (!exists(at) && dirname(at) !== at) at = dirname(at);
    accessSync(at, constants.W_OK | constants.X_OK);
    return {
      check: 'state-folder',
      ok: true,
      message: found ? `the state folder ${path} is yours alone` : `the state folder ${path} can be made`,
      cure: null,
    };
  } catch (error) {
    if (SinglepollError.is(error)) return refuse(error.message, error.hint ?? '');
    return refuse(
      `the state folder ${path} can’t be written (${(error as NodeJS.ErrnoException).code})`,
      'name a folder of your own: SINGLEPOLL_DIR=/path/to/folder',
    );
  }
}

/** Env files with a token that every user of the machine may read or write. */
export function checkEnvFiles(files: readonly ProjectFile[]): Check[] {
  const open = files.filter(
    ({ path, text, mode }) =>
      text !== null &&
      isEnvFile(path) &&
      !isExample(path) &&
      isOpenToOthers(mode) &&
      tokensIn(text).length > 0,
  );
  if (open.length === 0) {
    return [
      {
        check: 'env-permissions',
        ok: true,
        message: 'no env file with a token is open to other users',
        cure: null,
      },
    ];
  }
  return open.map(({ path, mode }) => ({
    check: 'env-permissions',
    ok: false,
    file: path,
    message: `${path} holds a token and is open to other users (mode ${modeText(mode)})`,
    cure: `chmod 600 ${path}`,
  }));
}
