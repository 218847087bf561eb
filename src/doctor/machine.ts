/** The machine: can singlepoll see processes, keep its state, trust the clock and reach the Bot API? Looks only; sends no token. */

import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { findStateDir, stateDirPath } from '../config/state-dir.ts';
import { SinglepollError } from '../errors.ts';
import { isOpenToOthers, modeText } from '../files.ts';
import { isProgramInPath } from '../machine/executable.ts';
import { hasProcfs } from '../machine/procfs.ts';
import { openHttpClient } from '../telegram/http-client.ts';
import { type Finding, isEnvFile, isExample, type ProjectFile } from './files.ts';
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

const good = (check: Check['check'], message: string): Check => ({ check, ok: true, message, cure: null });
const bad = (check: Check['check'], message: string, cure: string): Check => ({
  check,
  ok: false,
  message,
  cure,
});
export const unseen = (check: Check['check'], message: string): Check => ({
  check,
  ok: null,
  message,
  cure: null,
});

/** Findings of what is not well. */
export const failures = (checks: readonly Check[]): Finding[] =>
  checks
    .filter(({ ok }) => ok === false)
    .map(({ check, message, cure, file }) => ({
      rule: check,
      file: file ?? null,
      line: null,
      why: message,
      cure: cure ?? '',
    }));

export function checkProcesses(env: Environment): Check {
  if (hasProcfs()) return judgeProc(readFileSync('/proc/self/mounts', 'utf8'), process.geteuid?.() === 0);
  if (process.platform === 'linux')
    return bad(
      'processes',
      '/proc is not mounted, or shows no processes: singlepoll can’t see who polls',
      'mount -t proc proc /proc    # as root',
    );
  return isProgramInPath('ps', env)
    ? good('processes', 'ps lists the processes')
    : bad('processes', 'there is no ps: strays can’t be seen', 'install ps');
}

/** `mounts`: the text of /proc/self/mounts. */
export function judgeProc(mounts: string, isRoot: boolean): Check {
  const isHidden = /^\S+ \/proc proc \S*hidepid=(?:[12]|noaccess|invisible)/m.test(mounts) && !isRoot;
  if (!isHidden) return good('processes', '/proc lists the processes');
  return bad(
    'processes',
    '/proc is mounted with hidepid: strays of other users can’t be seen',
    'run singlepoll as the user that runs the strays, or: sudo mount -o remount,hidepid=0 /proc',
  );
}

export function checkStateFolder(env: Environment): Check {
  const path = stateDirPath(env);
  try {
    const found = findStateDir(env);
    // Where it is not there yet, it has to be makeable: the nearest folder above that exists decides.
    let nearest = found?.path ?? dirname(path);
    while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest);
    accessSync(nearest, constants.W_OK | constants.X_OK);
    return good('state-folder', `the state folder ${path} ${found ? 'is yours alone' : 'can be made'}`);
  } catch (error) {
    if (SinglepollError.is(error)) return bad('state-folder', error.message, error.hint ?? '');
    const { code } = error as NodeJS.ErrnoException;
    const cure = 'name a folder of your own: SINGLEPOLL_DIR=/path/to/folder';
    return bad('state-folder', `the state folder ${path} can’t be written (${code})`, cure);
  }
}

/** Env files with a token that other users of the machine may read or write. */
export function checkEnvFiles(files: readonly ProjectFile[]): Check[] {
  const hasToken = ({ path, text }: ProjectFile) =>
    isEnvFile(path) && !isExample(path) && tokensIn(text ?? '').length > 0;
  const open = files
    .filter((file) => isOpenToOthers(file.mode) && hasToken(file))
    .map(({ path, mode }) => {
      const message = `${path} holds a token and is open to other users (mode ${modeText(mode)})`;
      return { ...bad('env-permissions', message, `chmod 600 ${path}`), file: path };
    });
  return open.length > 0
    ? open
    : [good('env-permissions', 'no env file with a token is open to other users')];
}

const ANSWER_MS = 8_000;
/** More than this between our clock and the API's is worth a finding. The Date header has a resolution of 1 s. */
const CLOCK_OFF_MS = 30_000;

/** What was seen when the API root was asked. */
export type Answer =
  | { readonly status: number; readonly date: string | undefined; readonly tookMs: number }
  | { readonly problem: string };

export async function checkNetwork(apiRoot: string, env: Environment): Promise<Check[]> {
  const root = new URL(apiRoot);
  const client = openHttpClient({ root, env, connections: 1 });
  const begin = performance.now();
  try {
    const { status, headers } = await client.ask({
      method: 'GET',
      path: root.pathname + root.search,
      headers: ['user-agent', 'singlepoll'],
      answerBytesMax: 64 * 1024,
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    return judgeAnswer(root, { status, date: headers.date, tookMs: Math.round(performance.now() - begin) });
  } catch (error) {
    const { name, code, message } = error as NodeJS.ErrnoException;
    const isLate = /^(TimeoutError|AbortError)$/.test(name);
    return judgeAnswer(root, {
      problem: isLate ? `no answer within ${ANSWER_MS / 1_000} s` : (code ?? message),
    });
  } finally {
    client.close();
  }
}

/** DNS, reach of the API root and the clock against its Date header, from one answer. */
export function judgeAnswer({ hostname, href }: URL, answer: Answer, nowMs = Date.now()): Check[] {
  const root = href.replace(/\/$/, '');
  const problem =
    'problem' in answer ? answer.problem : answer.status < 500 ? null : `it answers ${answer.status}`;
  const unknown = problem !== null && /^(ENOTFOUND|EAI_\w+)$/.test(problem);
  if (unknown) {
    const cure = `getent hosts ${hostname}   (and /etc/resolv.conf; in a container: --dns)`;
    const dns = bad('dns', `the name ${hostname} can’t be looked up (${problem})`, cure);
    return [dns, unseen('api-root', `${root} was not asked`), unseen('clock', 'the clock was not compared')];
  }
  const isTls = /CERT|SELF_SIGNED|UNABLE_TO/.test(problem ?? '');
  const cure = isTls
    ? 'NODE_EXTRA_CA_CERTS=/path/to/ca.pem'
    : `curl -v ${root}   (firewall, HTTPS_PROXY, TELEGRAM_API_ROOT)`;
  const reach =
    problem === null && 'tookMs' in answer
      ? good('api-root', `${root} answers in ${answer.tookMs} ms`)
      : bad('api-root', `${root} is out of reach: ${problem}`, cure);
  const dns = problem === null && /[a-z]/i.test(hostname) ? [good('dns', `${hostname} is known`)] : [];
  return [...dns, reach, judgeClock('date' in answer ? answer.date : undefined, nowMs)];
}

function judgeClock(date: string | undefined, nowMs: number): Check {
  const offMs = nowMs - Date.parse(date ?? '');
  if (Number.isNaN(offMs)) return unseen('clock', 'the clock was not compared: no Date in the answer');
  if (Math.abs(offMs) <= CLOCK_OFF_MS) return good('clock', 'the clock agrees with the API root');
  const off = `${Math.round(Math.abs(offMs) / 1_000)} s ${offMs > 0 ? 'ahead of' : 'behind'}`;
  return bad('clock', `the clock is ${off} the API root’s`, 'timedatectl set-ntp true');
}
