/** Options as the words of a command line. What they mean, and whether they mean anything, the command says. */
import { flagWords, type OptionName, positiveFlags } from '../config/options.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { OWN_OPTIONS, type StartOptions } from './options.ts';

/** What `start()` says itself: it runs neither once only to show its steps, nor without us. */
const NOT_OFFERED = ['dryRun', 'detach'] as const;
/** Holds the interface against the option table: an option that one of them lacks makes this an error that names it. */
type Offered = Exclude<keyof StartOptions, (typeof OWN_OPTIONS)[number] | 'noGateway' | 'noAlerts'>;
type Wanted = Exclude<OptionName, (typeof NOT_OFFERED)[number]>;
type Differing = Exclude<Offered, Wanted> | Exclude<Wanted, Offered>;
const ALWAYS: Differing extends never ? string[] : Differing = ['--no-detach', '--no-dry-run'];

/** Throws 64 for what is no option of `start()`. A name that is no option at all is answered by the command, which knows what was meant. */
export function startWords({ command = [], ...options }: StartOptions): string[] {
  const refused = NOT_OFFERED.find((name) => name in options);
  if (refused) throw new SinglepollError(EXIT.usage, `${refused} is not an option of start()`);
  const own: readonly string[] = OWN_OPTIONS;
  const flags = Object.fromEntries(Object.entries(options).filter(([name]) => !own.includes(name)));
  const words = flagWords(positiveFlags(flags));
  return ['start', ...ALWAYS, ...words, ...(command.length > 0 ? ['--', ...command] : [])];
}
