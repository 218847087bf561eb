/**
 * How the worker is led to the gateway without a change in the bot: certificates of this run, the hooks of this package, and what of
 * them the next worker's environment may name. Hooks are looked at before each start of a worker: one that is missing, that the worker's
 * user may not read, or that an upgrade of the package has replaced, is left out and said once.
 */
import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VERSION } from '../errors.ts';
import { readText, statOf } from '../machine/procfs.ts';
import type { Report } from '../output/report.ts';
import { isRoot } from '../shell.ts';
import { BOT_API_HOST, makeCertificates } from './certificates.ts';
import { filePhpTrusts, jvmAuthorities, type TrustFiles, writeTrustFiles } from './trust.ts';
import { interceptVariables, type Runtime } from './variables.ts';

interface InterceptOptions {
  readonly mode: 'auto' | 'proxy';
  readonly command: readonly string[];
  /** What the worker would get without us. */
  readonly env: Readonly<NodeJS.ProcessEnv>;
  readonly cwd: string;
  readonly report: Report;
}

export type Intercept = ReturnType<typeof openIntercept>;

const PYTHON_FILES = ['python/sitecustomize.py', 'python/_singlepoll_hook.py'];
const HOOK_FILES = ['node.cjs', ...PYTHON_FILES, 'ruby.rb', 'php.php', 'bun.js'];

/** In the built program beside its chunks, in the source beside this file. */
const SHIPPED = join(dirname(fileURLToPath(import.meta.url)), 'hooks');
/** Readable by all, and cleared at the next boot only: whatever the worker leaves running has been told of the hooks' paths. */
const PUBLIC_PLACE = '/run';

export function openIntercept({ mode, command, env, cwd, report }: InterceptOptions) {
  const { authority, cert, key } = makeCertificates(Date.now());
  const runtimes = runtimesOf(command, cwd);
  const folder = readableByAll(SHIPPED) ? SHIPPED : publish();
  const isProxied = mode === 'proxy' || Boolean(env.https_proxy || env.HTTPS_PROXY);
  const trust: TrustFiles | null =
    isProxied || runtimes.size > 0
      ? writeTrustFiles(
          authority,
          join(folder ?? SHIPPED, 'php.php'),
          runtimes.has('php') ? filePhpTrusts(command, env, cwd) : '',
          runtimes.has('java') ? jvmAuthorities(command, env) : [],
        )
      : null;
  if (trust === null && (isProxied || runtimes.size > 0))
    report.line(
      'gateway',
      'no folder for certificates can be written, so calls of PHP, Java, Bun and proxied programs pass the gateway',
      'warn',
    );
  const before = folder && readHooks(folder);
  const startTime = statOf(process.pid)?.startId ?? '';
  const isConfined = [...command, env.NODE_OPTIONS ?? ''].some((it) =>
    /--(?:experimental-)?permission\b/.test(it),
  );
  const nodeImport = isConfined && before !== null ? nodeUrl() : null;
  let isSaid = false;

  function hooks(): string | null {
    if (folder !== null && before !== null && readHooks(folder) === before) return folder;
    const problem =
      folder === null
        ? `other users can't read them, nor can ${PUBLIC_PLACE} be written`
        : before === null
          ? 'its files are missing'
          : 'its files have changed';
    if (!isSaid)
      report.line(
        'gateway',
        `the worker's programs are not led to the gateway by hooks (${folder ?? SHIPPED}): ${problem}`,
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
function readHooks(folder: string): string | null {
  const texts = HOOK_FILES.map((it) => readText(join(folder, it)));
  return texts.includes(null) ? null : texts.join();
}

/**
 * Node, Ruby and PHP end at their start where they can't read a hook, and a worker that root starts may change its user. One that another
 * user starts can't, and reads what we read.
 */
function readableByAll(folder: string): boolean {
  if (!isRoot()) return true;
  // A file that is missing is reported as missing, not as unreadable.
  const allows = (path: string, bit: number) =>
    ((fs.statSync(path, { throwIfNoEntry: false })?.mode ?? bit) & bit) !== 0;
  for (let above = folder; above !== dirname(above); above = dirname(above))
    if (!allows(above, 0o001)) return false;
  return HOOK_FILES.every((it) => allows(join(folder, it), 0o004));
}

/** Copies the hooks to where everybody can read them. Null: there is no such place, or others could change them there. */
function publish(): string | null {
  const text = readHooks(SHIPPED);
  if (text === null) return SHIPPED;
  const folder = join(PUBLIC_PLACE, `singlepoll-hooks-${VERSION}`);
  try {
    if ((fs.statSync(PUBLIC_PLACE).mode & 0o022) !== 0) return null;
    if (readHooks(folder) === text) return folder;
    const part = fs.mkdtempSync(`${folder}-`);
    fs.cpSync(SHIPPED, part, { recursive: true });
    for (const it of ['', 'python', ...HOOK_FILES])
      fs.chmodSync(join(part, it), it.includes('.') ? 0o644 : 0o755);
    fs.rmSync(folder, { recursive: true, force: true });
    fs.renameSync(part, folder);
  } catch {
    // Another supervisor may have been quicker.
  }
  return readHooks(folder) === text ? folder : null;
}

/** Loads without a file. Node 18.18 and later take it. */
function nodeUrl(): string {
  const head = `import { createRequire } from 'node:module';const require = createRequire('file:///');`;
  const source = Buffer.from(`${head}\n${fs.readFileSync(join(SHIPPED, 'node.cjs'), 'utf8')}`);
  return `data:text/javascript;base64,${source.toString('base64')}`;
}

/** Programs that need more than a hook: by the command, or by what lies in the project. */
function runtimesOf(command: readonly string[], cwd: string): Set<Runtime> {
  const found = new Set<Runtime>();
  const names = (program: RegExp) =>
    command.some((it) => it.split(/\s/).some((word) => program.test(basename(word))));
  const has = (file: string) => fs.existsSync(join(cwd, file));
  if (names(/^php[\d.]*$/) || has('composer.json')) found.add('php');
  if (names(/^bunx?$/) || has('bun.lock') || has('bun.lockb')) found.add('bun');
  if (names(/^java$|\.jar$/)) found.add('java');
  return found;
}
