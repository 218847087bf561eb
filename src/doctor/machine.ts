/** The machine: can singlepoll see processes, keep its state, trust the clock and reach the Bot API? Looks only; sends no token. */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { findStateDir, stateDirPath } from '../config/state-dir.ts';
import { SinglepollError } from '../errors.ts';
import { isOpenToOthers, modeText } from '../files.ts';
import { hasProcfs } from '../machine/procfs.ts';
import { findSetpriv } from '../supervisor/worker.ts';
import { openHttpClient } from '../telegram/http-client.ts';
import { isEnvFile, isExample, type ProjectFile } from './files.ts';
import { tokensIn } from './tokens.ts';

type CheckName = 'processes' | 'guard' | 'state-folder' | 'env-permissions' | 'dns' | 'api-root' | 'clock';
type Environment = Readonly<Record<string, string | undefined>>;

export interface Check {
  readonly check: CheckName;
  /** Null: not looked at. */
  readonly ok: boolean | null;
  readonly message: string;
  /** Null where all is well. */
  readonly cure: string | null;
  readonly file?: string;
}

const seenAs =
  (ok: boolean | null) =>
  (check: CheckName, message: string, cure: string | null = null): Check => ({ check, ok, message, cure });
const [well, unwell, unseen] = [seenAs(true), seenAs(false), seenAs(null)];

/** `apiRoot`: null where it is not to be asked, for the reason in `unasked`. */
export async function checkMachine(
  files: readonly ProjectFile[],
  apiRoot: string | null,
  unasked: string,
  env: Environment,
): Promise<Check[]> {
  const network =
    apiRoot === null
      ? (['dns', 'api-root', 'clock'] as const).map((check) => unseen(check, unasked))
      : await checkNetwork(new URL(apiRoot), env);
  return [checkProcesses(), await checkGuard(), checkStateFolder(env), ...checkEnvFiles(files), ...network];
}

function checkProcesses(): Check {
  if (process.platform !== 'linux') return well('processes', 'ps-list lists the processes');
  if (hasProcfs()) return judgeProc(readFileSync('/proc/self/mounts', 'utf8'), process.geteuid?.() === 0);
  const problem = '/proc is not mounted, or shows no processes: singlepoll can’t see who polls';
  return unwell('processes', problem, 'mount -t proc proc /proc    # as root');
}

/** `mounts`: the text of /proc/self/mounts. */
export function judgeProc(mounts: string, isRoot: boolean): Check {
  const isHidden = /^\S+ \/proc proc \S*hidepid=(?:[12]|noaccess|invisible)/m.test(mounts) && !isRoot;
  const cure = 'run singlepoll as the user that runs the strays, or: sudo mount -o remount,hidepid=0 /proc';
  return isHidden
    ? unwell('processes', '/proc is mounted with hidepid: strays of other users can’t be seen', cure)
    : well('processes', '/proc lists the processes');
}

/** What ends the worker of a supervisor that is killed. */
async function checkGuard(): Promise<Check> {
  const takesAlong = 'a supervisor that is killed takes its worker along';
  if (await findSetpriv()) return well('guard', takesAlong);
  if (existsSync('/bin/sh'))
    return well('guard', `${takesAlong}, by a shell alone: there is no setpriv of util-linux`);
  const problem =
    'neither setpriv of util-linux nor /bin/sh is here: the worker of a supervisor that is killed polls on until the next start';
  return unwell(
    'guard',
    problem,
    'make singlepoll the first process of the container, which takes all others along',
  );
}

function checkStateFolder(env: Environment): Check {
  let path = '';
  try {
    path = stateDirPath(env);
    const found = findStateDir(env);
    // Where it is not there yet, it has to be makeable: the nearest folder above that exists decides.
    let nearest = found ?? dirname(path);
    while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest);
    accessSync(nearest, constants.W_OK | constants.X_OK);
    return well('state-folder', `the state folder ${path} ${found ? 'is yours alone' : 'can be made'}`);
  } catch (error) {
    if (error instanceof SinglepollError) return unwell('state-folder', error.message, error.hint ?? '');
    const problem = `the state folder ${path} can’t be written (${(error as NodeJS.ErrnoException).code})`;
    return unwell('state-folder', problem, 'name a folder of your own: SINGLEPOLL_DIR=/path/to/folder');
  }
}

/** Env files with a token that other users of the machine may read or write. */
export function checkEnvFiles(files: readonly ProjectFile[]): Check[] {
  const open = files.filter(
    ({ path, text, mode }) =>
      isOpenToOthers(mode) && isEnvFile(path) && !isExample(path) && tokensIn(text ?? '').length > 0,
  );
  if (open.length === 0) return [well('env-permissions', 'no env file with a token is open to other users')];
  return open.map(({ path, mode }) => {
    const problem = `${path} holds a token and is open to other users (mode ${modeText(mode)})`;
    return { ...unwell('env-permissions', problem, `chmod 600 ${path}`), file: path };
  });
}

const ANSWER_MS = 8_000;
/** More than this between our clock and the API's is worth a finding. The Date header has a resolution of 1 s. */
const CLOCK_OFF_MS = 30_000;

/** What was seen when the API root was asked. `failure`: the system's code, or what else kept us from an answer. */
export type Answer = { failure: string | null; status?: number; date?: string | undefined; tookMs?: number };

async function checkNetwork(root: URL, env: Environment): Promise<Check[]> {
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
    const tookMs = Math.round(performance.now() - begin);
    return judgeAnswer(root, { failure: null, status, date: headers.date, tookMs });
  } catch (error) {
    const { name, code, message } = error as NodeJS.ErrnoException;
    const isLate = /^(TimeoutError|AbortError)$/.test(name);
    const failure = isLate ? `no answer within ${ANSWER_MS / 1_000} s` : (code ?? message);
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
    ? unseen('clock', 'the clock was not compared: no answer with a Date')
    : Math.abs(offMs) > CLOCK_OFF_MS
      ? unwell('clock', off, 'timedatectl set-ntp true')
      : well('clock', 'the clock agrees with the API root');
  if (failure !== null && /^(ENOTFOUND|EAI_\w+)$/.test(failure)) {
    const cure = `getent hosts ${hostname}   (and /etc/resolv.conf; in a container: --dns)`;
    const problem = `the name ${hostname} can’t be looked up (${failure})`;
    return [unwell('dns', problem, cure), unseen('api-root', `${root} was not asked`), clock];
  }
  const problem = failure ?? (status < 500 ? null : `it answers ${status}`);
  const cure = /CERT|SELF_SIGNED|UNABLE_TO/.test(problem ?? '')
    ? 'NODE_EXTRA_CA_CERTS=/path/to/ca.pem'
    : `curl -v ${root}   (firewall, HTTPS_PROXY, TELEGRAM_API_ROOT)`;
  return [
    ...(failure === null && /[a-z]/i.test(hostname) ? [well('dns', `${hostname} is known`)] : []),
    problem === null
      ? well('api-root', `${root} answers in ${tookMs} ms`)
      : unwell('api-root', `${root} is out of reach: ${problem}`, cure),
    clock,
  ];
}
