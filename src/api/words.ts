/** Options as the words of a command line. What they mean, and whether they mean anything, the command says. */
import type { OptionName } from '../config/options.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { OWN_OPTIONS, type StartOptions } from './options.ts';

/** What `start()` says itself: it runs neither once only to show its steps, nor without us. */
type NotOffered = 'dryRun' | 'detach';
/** Holds the interface against the option table: an option that one of them lacks makes this an error that names it. */
type Offered = Exclude<keyof StartOptions, (typeof OWN_OPTIONS)[number]>;
type Wanted = Exclude<OptionName, NotOffered>;
type Differing = Exclude<Offered, Wanted> | Exclude<Wanted, Offered>;
const complete: Differing extends never ? true : Differing = true;

const NOT_OFFERED: ReadonlySet<string> = new Set<NotOffered>(['dryRun', 'detach']);

/** Throws 64 for what is no option of `start()`. */
export function startWords(options: StartOptions): string[] {
  const own: readonly string[] = OWN_OPTIONS;
  const words = Object.entries(options)
    .filter(([name, value]) => !own.includes(name) && value !== undefined)
    .map(checked)
    .flatMap(([name, value]) => optionWords(flagOf(name), value));
  const command = options.command ?? [];
  const ours = complete ? ['--no-detach', '--no-dry-run'] : [];
  return ['start', ...ours, ...words, ...(command.length > 0 ? ['--', ...command] : [])];
}

/** Names that are no option at all are answered by the command, which knows what was meant. */
function checked(option: [string, unknown]): [string, unknown] {
  const [name] = option;
  if (!NOT_OFFERED.has(name)) return option;
  throw new SinglepollError(EXIT.usage, `${name} is not an option of start()`);
}

function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function optionWords(flag: string, value: unknown): string[] {
  if (value === true) return [flag];
  if (value === false) return flag.startsWith('--no-') ? [] : [`--no-${flag.slice(2)}`];
  return (Array.isArray(value) ? value : [value]).map((one) => `${flag}=${String(one)}`);
}
