/** Why a process of the worker talks straight to the Bot API, and the one thing to do about it. */
import { basename } from 'node:path';
import { argvOf, readLink, readText } from '../machine/procfs.ts';
import { findLine, type Language } from './libraries.ts';

interface Past {
  readonly why: string;
  readonly cure: string;
}

export interface PastFacts {
  /** The file that it executes, and its words. */
  readonly exe: string;
  readonly argv: readonly string[];
  /** The names in its environment; a variable that leads a runtime counts only where it names our hook. */
  readonly names: ReadonlySet<string>;
  /** Its environment names the gateway as the proxy. */
  readonly isProxied: boolean;
  readonly mode: 'auto' | 'proxy' | 'off';
}

/** What is led by a hook: the file's name, the variable that names the hook, and in which language it is written. */
const RUNTIMES: readonly (readonly [files: RegExp, variable: string, language: Language | null])[] = [
  [/^node(?:js)?[\d.]*$/, 'NODE_OPTIONS', 'js'],
  [/^(?:python|pypy)[\d.]*$/, 'PYTHONPATH', 'python'],
  [/^ruby[\d.]*$/, 'RUBYOPT', null],
  [/^php(?:-fpm)?[\d.]*$/, 'PHP_INI_SCAN_DIR', null],
  [/^bun$/, 'BUN_OPTIONS', 'js'],
  [/^java$/, 'JAVA_TOOL_OPTIONS', null],
];
/** A script may have replaced what we set: `PYTHONPATH=. python bot.py`. */
const NAMES_HOOK = /\/(?:node\.cjs|python|ruby\.rb|bun\.js)\b|singlepoll-trust-|data:text/;
const isReplaced = (entry: string) =>
  RUNTIMES.some(([, variable]) => entry.startsWith(`${variable}=`)) && !NAMES_HOOK.test(entry);
const runtimeOf = (exe: string) => RUNTIMES.find(([files]) => files.test(baseName(exe)));

/** Looks at a process of the worker, and in the project's folder for its library. Null: it has ended. */
export async function whyPast(pid: number, mode: PastFacts['mode'], folder: string): Promise<Past | null> {
  const argv = argvOf(pid);
  if (argv.length === 0) return null;
  const environ = (readText(`/proc/${pid}/environ`) ?? '').split('\0');
  const kept = environ.filter((it) => !isReplaced(it));
  const names = new Set(kept.map((it) => it.slice(0, it.indexOf('='))));
  const exe = readLink(`/proc/${pid}/exe`) ?? argv[0] ?? '';
  // Only `--intercept proxy` sets MOJO_PROXY, too.
  const isProxied =
    environ.some((it) => it.startsWith('HTTPS_PROXY=http://127.0.0.1:')) && names.has('MOJO_PROXY');
  const facts = { exe, argv, names, isProxied, mode };
  const past = pastWords(facts);
  return past.cure === USE_ROOT ? { ...past, cure: await useRoot([exe, ...argv.slice(1)], folder) } : past;
}

/** For a command that stands in the configuration. */
export const BY_PROXY = 'singlepoll start --intercept proxy';
const USE_ROOT = 'let the bot take its API root from TELEGRAM_API_ROOT';

/** The last resort, with the line for the library of the bot where that is known. */
export async function useRoot([exe = '', ...words]: readonly string[], folder: string): Promise<string> {
  const [, , language = 'go'] = runtimeOf(exe) ?? [];
  const written = baseName(exe) === 'deno' ? 'js' : language;
  const line = written && (await findLine(folder, written, words));
  return line ? `${USE_ROOT}: ${line}` : USE_ROOT;
}

/** What follows "the worker goes past the gateway: ". */
export function pastWords({ exe, argv, names, isProxied, mode }: PastFacts): Past {
  const program = baseName(exe);
  const [, variable = null] = runtimeOf(exe) ?? [];
  const past = (why: string, cure = USE_ROOT): Past => ({ why, cure });
  if (mode === 'off') return past('it does not use TELEGRAM_API_ROOT, and --intercept off was given');
  if (!names.has('SINGLEPOLL_HOOK'))
    return past(
      `${program} was started without its environment (env -i, sudo, su -), and so without what leads its calls`,
      'start singlepoll inside of that command, as in: sudo -u USER singlepoll start -- COMMAND',
    );
  const end = argv.findIndex((it, i) => i > 0 && !it.startsWith('-'));
  const flag = argv.slice(1, end < 0 ? argv.length : end).find((it) => /^-[a-zA-Z]*[IES]/.test(it));
  if (variable === 'PYTHONPATH' && flag) return past(`python ${flag} loads no hook`, `leave ${flag} out`);
  const cure = /^(?:PHP|BUN|JAVA)_/.test(variable ?? '')
    ? `name it in the command: singlepoll start -- ${program} …`
    : `let whatever starts ${program} add to ${variable}, not replace or drop it`;
  if (variable !== null && !names.has(variable))
    return past(`${program} was started without what leads it in ${variable}`, cure);
  if (variable !== null)
    return past(
      'it makes its connection in its own way (a pinned certificate, a CA file or a proxy of its own)',
    );
  if (isProxied) return past(`${program} takes no proxy from its environment`);
  return past(`${program} can't load a hook (Go, Deno, Rust, Perl, curl)`, BY_PROXY);
}

const baseName = (path: string): string => basename(path.replace(/ \(deleted\)$/, ''));
