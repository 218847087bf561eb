/** The machine: can singlepoll see processes, keep its state, trust the clock and reach the Bot API? Looks only; sends no token. */
import { existsSync } from 'node:fs';
import { tryStateDir } from '../config/state-dir.ts';
import type { SinglepollError } from '../errors.ts';
import { isOpenToOthers, modeText } from '../files.ts';
import { areOthersHidden, hasProcfs } from '../machine/procfs.ts';
import { isRoot } from '../shell.ts';
import { openHttpClient } from '../telegram/http-client.ts';
import { type Finding, isEnvFile, type ProjectFile } from './files.ts';
import { tokensIn } from './tokens.ts';

/** `ok` null: it was not looked at. What is well has no cure. */
export type Check = Finding & { readonly ok: boolean | null };

export const seen = (rule: string, ok: boolean | null, why: string, cure = '', file?: string): Check => ({
  ...{ rule, ok, file: file ?? null, line: null, why, cure },
});

/** `apiRoot`: null where it is not to be asked, for the reason in `unasked`. */
export async function checkMachine(files: readonly ProjectFile[], apiRoot: string | null, unasked: string) {
  const unlooked = ['dns', 'api-root', 'clock'].map((rule) => seen(rule, null, unasked));
  const network = apiRoot === null ? unlooked : await checkNetwork(new URL(apiRoot));
  return [checkProcesses(), checkGuard(), checkStateFolder(), ...checkEnvFiles(files), ...network];
}

function checkProcesses(): Check {
  if (process.platform !== 'linux') return seen('processes', true, 'ps-list lists the processes');
  if (!hasProcfs()) {
    const problem = '/proc is not mounted, or shows no processes: singlepoll can’t see who polls';
    return seen('processes', false, problem, 'mount -t proc proc /proc    # as root');
  }
  if (!areOthersHidden() || isRoot()) return seen('processes', true, '/proc lists the processes');
  const cure = 'run singlepoll as the user that runs the strays, or: sudo mount -o remount,hidepid=0 /proc';
  return seen('processes', false, '/proc is mounted with hidepid: strays of other users can’t be seen', cure);
}

/** What ends the worker of a supervisor that is killed. */
function checkGuard(): Check {
  if (existsSync('/bin/sh')) return seen('guard', true, 'a supervisor that is killed takes its worker along');
  const problem =
    'there is no /bin/sh: the worker of a supervisor that is killed polls on until the next start';
  const cure = 'make singlepoll the first process of the container, which takes all others along';
  return seen('guard', false, problem, cure);
}

function checkStateFolder(): Check {
  try {
    const { path, isThere } = tryStateDir();
    const well = `the state folder ${path} ${isThere ? 'is yours alone' : 'can be made'}`;
    return seen('state-folder', true, well);
  } catch (error) {
    const { message, hint } = error as SinglepollError;
    return seen('state-folder', false, message, hint);
  }
}

/** Env files with a token that other users of the machine may read or write. */
export function checkEnvFiles(files: readonly ProjectFile[]): Check[] {
  const well = seen('env-permissions', true, 'no env file with a token is open to other users');
  const found = files
    .filter(({ path, text, mode }) => isOpenToOthers(mode) && isEnvFile(path) && tokensIn(text).length > 0)
    .map(({ path: file, mode }) => {
      const problem = `${file} holds a token and is open to other users (mode ${modeText(mode)})`;
      return seen('env-permissions', false, problem, `chmod 600 ${file}`, file);
    });
  return found.length === 0 ? [well] : found;
}

const ANSWER_MS = 5_000;
/** More than this between our clock and the API's is worth a finding. The Date header has a resolution of 1 s. */
const CLOCK_OFF_MS = 30_000;

/** What was seen when the API root was asked. `failure`: the system's code, or what else kept us from an answer. */
export type Answer = { failure: string | null; status?: number; date?: string | undefined; tookMs?: number };

async function checkNetwork(root: URL): Promise<Check[]> {
  const client = openHttpClient(root, 1);
  const begin = performance.now();
  const path = root.pathname + root.search;
  const limits = { answerBytesMax: 64 * 1024, signal: AbortSignal.timeout(ANSWER_MS) };
  try {
    const asked = { method: 'GET', path, headers: ['user-agent', 'singlepoll'], ...limits } as const;
    const { status, headers } = await client.ask(asked);
    const tookMs = Math.round(performance.now() - begin);
    return judgeAnswer(root, { failure: null, status, date: headers.date, tookMs });
  } catch (error) {
    const { name, code, message } = error as NodeJS.ErrnoException;
    const failure = name === 'TimeoutError' ? `no answer within ${ANSWER_MS / 1_000} s` : (code ?? message);
    return judgeAnswer(root, { failure });
  } finally {
    client.close();
  }
}

/** DNS, reach of the API root and the clock against its Date header, from one answer. */
export function judgeAnswer({ hostname, href }: URL, answer: Answer, nowMs = Date.now()): Check[] {
  const root = href.replace(/\/$/, '');
  const { failure, status = 0, date = '', tookMs } = answer;
  const offMs = nowMs - Date.parse(date);
  const off = `the clock is ${Math.round(Math.abs(offMs) / 1_000)} s ${offMs > 0 ? 'ahead of' : 'behind'} the API root’s`;
  const clock = Number.isNaN(offMs)
    ? seen('clock', null, 'the clock was not compared: no answer with a Date')
    : Math.abs(offMs) > CLOCK_OFF_MS
      ? seen('clock', false, off, 'timedatectl set-ntp true')
      : seen('clock', true, 'the clock agrees with the API root');
  if (failure !== null && /^(ENOTFOUND|EAI_\w+)$/.test(failure)) {
    const cure = `getent hosts ${hostname}   (and /etc/resolv.conf; in a container: --dns)`;
    const problem = `the name ${hostname} can’t be looked up (${failure})`;
    return [seen('dns', false, problem, cure), seen('api-root', null, `${root} was not asked`), clock];
  }
  const known =
    failure === null && /[a-z]/i.test(hostname) ? [seen('dns', true, `${hostname} is known`)] : [];
  const problem = failure ?? (status < 500 ? null : `it answers ${status}`);
  if (problem === null) return [...known, seen('api-root', true, `${root} answers in ${tookMs} ms`), clock];
  const cure = /CERT|SELF_SIGNED|UNABLE_TO/.test(problem)
    ? 'NODE_EXTRA_CA_CERTS=/path/to/ca.pem'
    : `curl -v ${root}   (firewall, HTTPS_PROXY, TELEGRAM_API_ROOT)`;
  return [...known, seen('api-root', false, `${root} is out of reach: ${problem}`, cure), clock];
}
