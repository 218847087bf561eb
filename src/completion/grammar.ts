/** What can be typed, taken from the commands as commander knows them: whatever is added there is completed, too. */
import type { Argument, Command, Option } from 'commander';

/** What comes after an option or a command. `worker`: another command line. */
export type Value =
  | { readonly kind: 'none' | 'any' | 'file' | 'folder' | 'bot' | 'worker' }
  | { readonly kind: 'choice'; readonly choices: readonly string[] };

export interface OptionWord {
  /** `--config`, `-c`; the long one first. */
  readonly flags: readonly string[];
  readonly description: string;
  /** `none`: a flag, or its value needs a `=`. */
  readonly value: Value;
  readonly repeatable: boolean;
}

export interface CommandWord {
  readonly name: string;
  readonly description: string;
  readonly options: readonly OptionWord[];
  readonly argument: Value;
}

export interface Grammar {
  readonly name: string;
  readonly options: readonly OptionWord[];
  readonly commands: readonly CommandWord[];
}

const DESCRIPTION_MAX = 80;

export function grammarOf(program: Command): Grammar {
  return {
    name: program.name(),
    options: optionsOf(program),
    commands: program.commands.map((it) => ({
      name: it.name(),
      description: short(it.summary()),
      options: optionsOf(it),
      argument: argumentOf(it.registeredArguments[0]),
    })),
  };
}

function optionsOf(command: Command): OptionWord[] {
  const help = {
    flags: ['--help', '-h'],
    description: 'show its options',
    value: { kind: 'none' },
    repeatable: false,
  } as const;
  return [...command.options.filter(({ hidden }) => !hidden).map(optionWord), help];
}

function optionWord(option: Option): OptionWord {
  return {
    flags: [option.long, option.short].filter((flag) => flag !== undefined && flag !== null),
    description: short(option.description),
    value: option.required ? valueFor(/<(.*)>/.exec(option.flags)?.[1] ?? '') : { kind: 'none' },
    // Only those of the table that are lists have a parser.
    repeatable: option.parseArg !== undefined,
  };
}

function valueFor(placeholder: string): Value {
  if (placeholder === 'path') return { kind: 'file' };
  if (placeholder.includes('@username')) return { kind: 'bot' };
  if (placeholder.includes('|')) return { kind: 'choice', choices: placeholder.split('|') };
  return { kind: 'any' };
}

function argumentOf(argument: Argument | undefined): Value {
  if (!argument) return { kind: 'none' };
  if (argument.argChoices) return { kind: 'choice', choices: argument.argChoices };
  if (argument.variadic) return { kind: 'worker' };
  return { kind: argument.name() === 'folder' ? 'folder' : 'any' };
}

/** The first clause, as plain text. */
function short(description: string): string {
  const first = description.split(/; | \(default/)[0] as string;
  return first.length <= DESCRIPTION_MAX
    ? first
    : `${first.slice(0, DESCRIPTION_MAX - 1).replace(/ \S*$/, '')} …`;
}

/** Options by what their value is; throws where one name means two kinds of value, since scripts go by the name. */
export function optionsByValue(grammar: Grammar): ReadonlyMap<string, Value> {
  const found = new Map<string, Value>();
  for (const { flags, value } of [
    ...grammar.options,
    ...grammar.commands.flatMap(({ options }) => options),
  ]) {
    for (const flag of flags) {
      const known = found.get(flag);
      if (known && JSON.stringify(known) !== JSON.stringify(value))
        throw new Error(`${flag} has two kinds of value`);
      found.set(flag, value);
    }
  }
  return found;
}
