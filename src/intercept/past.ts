/** Why a process of the worker talks straight to the Bot API, and the one thing to do about it. */
import { argvOf, readLink, readText } from '../machine/procfs.ts';

export interface PastFacts {
  /** The file that it executes, and its words. */
  readonly exe: string;
  readonly argv: readonly string[];
  /** Its environment still holds what leads it to the gateway. */
  readonly isLed: boolean;
  readonly mode: 'auto' | 'proxy' | 'off';
  /** The line that lets its library use the gateway's address; null: the library is not known. */
  readonly line: string | null;
}

const RUNTIMES: readonly (readonly [string, RegExp])[] = [
  ['node', /^node(?:js)?[\d.]*$/],
  ['python', /^(?:python|pypy)[\d.]*$/],
  ['ruby', /^ruby[\d.]*$/],
  ['php', /^php(?:-fpm)?[\d.]*$/],
  ['bun', /^bun$/],
  ['java', /^java$/],
];

/** Looks at a process of the worker. */
export function whyPast(pid: number, mode: PastFacts['mode']): string {
  const argv = argvOf(pid);
  const environ = (readText(`/proc/${pid}/environ`) ?? '').split('\0');
  const isLed = environ.some((it) => it.startsWith('SINGLEPOLL_HOOK='));
  return pastWords({ exe: readLink(`/proc/${pid}/exe`) ?? argv[0] ?? 'it', argv, isLed, mode, line: null });
}

/** What follows "the worker polls past the gateway: ". */
export function pastWords({ exe, argv, isLed, mode, line }: PastFacts): string {
  const program = baseName(exe);
  const runtime = RUNTIMES.find(([, names]) => names.test(program))?.[0] ?? null;
  const useRoot = `let it take its API root from TELEGRAM_API_ROOT${line === null ? '' : `: ${line}`}`;
  if (mode === 'off')
    return `it does not use TELEGRAM_API_ROOT (--intercept off was given). To do: ${useRoot}`;
  if (!isLed)
    return `${program} has lost its environment (env -i, sudo, su -), and with it what leads its calls. To do: start singlepoll inside of that command, or sudo --preserve-env`;
  const flags = argv.slice(
    1,
    argv.findIndex((it, i) => i > 0 && !it.startsWith('-')),
  );
  if (runtime === 'python' && flags.some((it) => /^-[a-zA-Z]*[IES]/.test(it)))
    return `python with -I, -E or -S loads no hook. To do: leave that flag out, or ${useRoot}`;
  if (runtime === null && mode === 'auto')
    return `${program} is a program that loads no hook (Go, Deno, Rust, curl). To do: singlepoll start --intercept proxy`;
  if (runtime === null) return `${program} takes no proxy from its environment. To do: ${useRoot}`;
  return `its connection is one of its own making (a pinned certificate, a proxy or a CA file in its code). To do: ${useRoot}`;
}

function baseName(path: string): string {
  return (
    path
      .replace(/ \(deleted\)$/, '')
      .split('/')
      .at(-1) ?? path
  );
}
