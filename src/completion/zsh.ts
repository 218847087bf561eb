/** The script for zsh: as a file _singlepoll in $fpath, or read by `source` after compinit. */
import type { Grammar, OptionWord, Value } from './grammar.ts';

export function zsh({ name, options, commands }: Grammar): string {
  return `#compdef ${name}
# Completion of ${name} for zsh. Written by \`${name} completion zsh\`.

_${name}_bots() {
  local -a bots
  bots=(\${SINGLEPOLL_DIR:-$HOME/.local/state/singlepoll}/[1-9]*(N:t))
  bots=(\${bots:#*[^0-9]*})
  compadd -a bots
}

_${name}() {
  local curcontext=$curcontext state line
  typeset -A opt_args
  _arguments -C \\
${options.flatMap(specs).join('')}    '1:command:->command' \\
    '*::argument:->argument'
  case $state in
    command)
      local -a commands
      commands=(
${commands.map((it) => `        ${quote(`${it.name}:${it.description.replaceAll(':', '\\:')}`)}\n`).join('')}      )
      _describe command commands
      ;;
    argument)
      case $line[1] in
${commands
  .map(
    (it) => `        ${it.name})
          _arguments -S \\
${it.options.flatMap(specs).join('')}            ${argument(it.argument)}
          ;;\n`,
  )
  .join('')}      esac
      ;;
  esac
}

if [[ $funcstack[1] == _${name} ]]; then
  _${name} "$@"
else
  compdef _${name} ${name}
fi
`;

  function specs({ flags, description, value, repeatable }: OptionWord): string[] {
    const others = repeatable ? '*' : `(${flags.join(' ')})`;
    const text = `[${description.replace(/[[\]:\\]/g, '\\$&')}]`;
    return flags.map((flag) => {
      const takes = value.kind === 'none' ? '' : flag.startsWith('--') ? '=' : '+';
      return `    ${quote(`${others}${flag}${takes}${text}${action(value)}`)} \\\n`;
    });
  }

  function action(value: Value): string {
    if (value.kind === 'choice') return `:value:(${value.choices.join(' ')})`;
    const actions = {
      none: '',
      any: ':value: ',
      file: ':file:_files',
      folder: ':folder:_files -/',
      bot: `:bot:_${name}_bots`,
      worker: '',
    };
    return actions[value.kind];
  }

  function argument(value: Value): string {
    if (value.kind === 'worker') return "'(-)1:worker:_command_names -e' '*::argument:_normal'";
    return value.kind === 'none' ? '&& return' : quote(`1${action(value)}`);
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
