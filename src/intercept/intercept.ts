/**
 * How the worker is led to the gateway without a change in the bot: certificates of this run, the hooks of this package, and what of
 * them the next worker's environment may name. Hooks are looked at before each start of a worker: one that is missing, that the worker's
 * user may not read, or that an upgrade of the package has replaced, is left out and said once.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseProcStat, readStat } from '../machine/procfs.ts';
import type { Report } from '../output/report.ts';
import { BOT_API_HOST, makeCertificates } from './certificates.ts';
import { type TrustFiles, writeTrustFiles } from './trust.ts';
import { interceptVariables, type Runtime } from './variables.ts';

export interface InterceptOptions {
  readonly mode: 'auto' | 'proxy';
  readonly command: readonly string[];
  /** What the worker would get without us. */
  readonly env: Readonly<NodeJS.ProcessEnv>;
  readonly cwd: string;
  readonly report: Report;
}

export type Intercept = ReturnType<typeof openIntercept>;

const HOOK_FILES = [
  'node.cjs',
  'python/sitecustomize.py',
  'python/_singlepoll_hook.py',
  'ruby.rb',
  'php.php',
  'bun.js',
];

/** In the built program beside its chunks, in the source beside this file. */
const HOOKS = join(dirname(fileURLToPath(import.meta.url)), 'hooks');

export function openIntercept({ mode, command, env, cwd, report }: InterceptOptions) {
  const { authority, cert, key } = makeCertificates(Date.now());
  const runtimes = runtimesOf(command, cwd);
  const isProxied = mode === 'proxy' || Boolean(env.https_proxy || env.HTTPS_PROXY);
  const trust: TrustFiles | null =
    isProxied || runtimes.size > 0
      ? writeTrustFiles(
          authority,
          join(HOOKS, 'php.php'),
          runtimes.has('php') ? askPhp(command, env, cwd) : '',
        )
      : null;
  if (trust === null && (isProxied || runtimes.size > 0))
    report.line(
      'gateway',
      'no folder for certificates can be written, so calls of PHP, Java, Bun and proxied programs pass the gateway',
      'warn',
    );
  const before = readHooks();
  const startTime = String(parseProcStat(readStat(process.pid) ?? '')?.startId ?? '');
  const isConfined = [...command, env.NODE_OPTIONS ?? ''].some((it) =>
    /--(?:experimental-)?permission\b/.test(it),
  );
  const nodeImport = isConfined && before !== null ? nodeUrl() : null;
  let isSaid = false;

  /** Null: they are left out. */
  function hooks(): string | null {
    const problem =
      before === null
        ? 'its files are missing'
        : readHooks() !== before
          ? 'its files have changed'
          : hidden(command);
    if (problem === null) return HOOKS;
    if (!isSaid)
      report.line(
        'gateway',
        `the worker's programs are not led to the gateway by hooks (${HOOKS}): ${problem}`,
        'warn',
      );
    isSaid = true;
    return null;
  }

  return {
    door: { host: BOT_API_HOST, cert, key, byHost: runtimes.has('php') },
    /** For the next worker, whose gateway has this port. */
    variables(port: number): Record<string, string> {
      const { pid } = process;
      return interceptVariables(env, {
        ...{ mode, port, pid, startTime, authority, trust, runtimes, nodeImport },
        hooks: hooks(),
      });
    },
    close: () => trust?.remove(),
  };
}

/** Null: one can't be read. */
function readHooks(): string | null {
  try {
    return HOOK_FILES.map((it) => readFileSync(join(HOOKS, it), 'utf8')).join();
  } catch {
    return null;
  }
}

/** Loads without a file. Node 18.18 and later take it. */
function nodeUrl(): string {
  const head = `import { createRequire } from 'node:module';const require = createRequire('file:///');const __dirname = ${JSON.stringify(HOOKS)};`;
  const source = Buffer.from(`${head}\n${readFileSync(join(HOOKS, 'node.cjs'), 'utf8')}`);
  return `data:text/javascript;base64,${source.toString('base64')}`;
}

/** They change the user, who may not be able to read what root can. */
const USER_CHANGERS =
  /^(gosu|su|su-exec|sudo|setpriv|runuser|chpst|setuidgid|s6-setuidgid|s6-applyuidgid|capsh)$/;

/** Node, Ruby and PHP end at their start where they can't read a hook. Null: the worker's user can. */
function hidden(command: readonly string[]): string | null {
  if (process.geteuid?.() !== 0 || !USER_CHANGERS.test(basename(command[0] ?? ''))) return null;
  for (let folder = HOOKS; folder !== dirname(folder); folder = dirname(folder))
    if ((statSync(folder).mode & 0o001) === 0) return `other users can't read ${folder}`;
  return null;
}

/** The file of trusted certificates that its settings name: where they come from is compiled in. Its curl reads `openssl.cafile`, too. */
function askPhp([program = '']: readonly string[], env: Readonly<NodeJS.ProcessEnv>, cwd: string): string {
  const php = /^php[\d.]*$/.test(basename(program)) ? program : 'php';
  const code = "echo ini_get('openssl.cafile') ?: ini_get('curl.cainfo');";
  const words = ['-d', 'display_errors=stderr', '-r', code];
  return (
    spawnSync(php, words, { env, cwd, timeout: 5_000, encoding: 'utf8' }).stdout || env.SSL_CERT_FILE || ''
  );
}

/** Programs that need more than a hook: by the command, or by what lies in the project. */
function runtimesOf(command: readonly string[], cwd: string): Set<Runtime> {
  const found = new Set<Runtime>();
  const name = basename(command[0] ?? '');
  const has = (file: string) => {
    try {
      return statSync(join(cwd, file)).isFile();
    } catch {
      return false;
    }
  };
  if (/^php/.test(name) || has('composer.json')) found.add('php');
  if (/^bunx?$/.test(name) || has('bun.lock') || has('bun.lockb')) found.add('bun');
  if (name === 'java' || command.some((it) => it.endsWith('.jar'))) found.add('java');
  return found;
}
