/** The script for fish. */
import type { Grammar, OptionWord, Value } from './grammar.ts';

export function fish({ name, options, commands }: Grammar): string {
  const line = (condition: string, rest: string) => `complete -c ${name} -n ${quote(condition)} ${rest}\n`;
  const optionLines = (condition: string, words: readonly OptionWord[]) =>
    words.map((it) => line(condition, optionText(it))).join('');
  return `# Completion of ${name} for fish. Written by \`${name} completion fish\`.

function __${name}_at --description 'the command, before any --'
    set -l words (commandline -opc)
    contains -- -- $words; and return 1
    __fish_seen_subcommand_from $argv
end

function __${name}_worker --description 'completions of the command line behind --'
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words); or return 1
    set -l typed (string escape -- $words[(math $at + 1)..-1]) (commandline -ct)
    complete -C (string join ' ' -- $typed)
end

function __${name}_bots
    set -l folder "$HOME/.local/state/singlepoll"
    set -q SINGLEPOLL_DIR; and set folder $SINGLEPOLL_DIR
    for bot in $folder/*
        string match -r '[1-9]\\d*$' -- $bot
    end
end

complete -c ${name} -f
complete -c ${name} -n 'contains -- -- (commandline -opc)' -a '(__${name}_worker)'
${commands.map((it) => line('__fish_use_subcommand', `-a ${it.name} -d ${quote(it.description)}`)).join('')}${optionLines('__fish_use_subcommand', options)}${commands
  .map((it) => {
    const at = `__${name}_at ${it.name}`;
    const own = it.argument.kind === 'none' ? '' : line(at, argumentText(it.argument));
    return `${own}${optionLines(at, it.options)}`;
  })
  .join('')}`;

  function optionText({ flags, description, value }: OptionWord): string {
    const names = flags.map((flag) =>
      flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
    );
    return [...names, ...takes(value), `-d ${quote(description)}`].join(' ');
  }

  function takes(value: Value): string[] {
    if (value.kind === 'none') return [];
    if (value.kind === 'file' || value.kind === 'folder') return ['-r', '-F'];
    const from = source(value);
    return from === null ? ['-x'] : ['-x', `-a ${quote(from)}`];
  }

  function argumentText(value: Value): string {
    const from = source(value);
    return from === null ? '-F' : `-a ${quote(from)}`;
  }

  function source(value: Value): string | null {
    switch (value.kind) {
      case 'choice':
        return value.choices.join(' ');
      case 'bot':
        return `(__${name}_bots)`;
      case 'folder':
        return '(__fish_complete_directories)';
      case 'worker':
        return '(__fish_complete_command)';
      default:
        return null;
    }
  }
}

function quote(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
