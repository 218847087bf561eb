/** Options as the words of a command line. What they mean, and whether they mean anything, the command says. */
import type { OptionName } from '../config/options.ts';
import { OWN_OPTIONS, type StartOptions } from './options.ts';

/** What `start()` says itself: it runs neither once only to show its steps, nor without us. */
type NotOffered = 'dryRun' | 'detach';
/** Holds the interface against the option table: an option that one of them lacks makes this an error that names it. */
type Offered = Exclude<keyof StartOptions, (typeof OWN_OPTIONS)[number]>;
type Wanted = Exclude<OptionName, NotOffered>;
type Differing = Exclude<Offered, Wanted> | Exclude<Wanted, Offered>;
const complete: Differing extends never ? true : Differing = true;

export function startWords(options: StartOptions): string[] {
  const own: readonly string[] = OWN_OPTIONS;
  const words = Object.entries(options)
    .filter(([name, value]) => !own.includes(name) && value !== undefined)
    .flatMap(([name, value]) => optionWords(flagOf(name), value));
  const command = options.command ?? [];
  const ours = complete ? ['--no-detach', '--no-dry-run'] : [];
  return ['start', ...ours, ...words, ...(command.length > 0 ? ['--', ...command] : [])];
}

function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function optionWords(flag: string, value: unknown): string[] {
  if (value === true) return [flag];
  if (value === false) return flag.startsWith('--no-') ? [] : [`--no-${flag.slice(2)}`];
  return (Array.isArray(value) ? value : [value]).map((one) => `${flag}=${String(one)}`);
}
