/** The script for bash 3.2 and later, with or without the package bash-completion. */
import { type Grammar, optionsByValue, type Value } from './grammar.ts';

export function bash(grammar: Grammar): string {
  const { name, commands } = grammar;
  const values = [...optionsByValue(grammar)].filter(([, value]) => value.kind !== 'none');
  const withWorker = commands.filter(({ argument }) => argument.kind === 'worker').map((it) => it.name);
  const groups = new Map<string, string[]>();
  for (const [flag, value] of values) {
    const action = offer(value);
    groups.set(action, [...(groups.get(action) ?? []), flag]);
  }
  const cases = [...groups].map(([action, flags]) => `      ${flags.join(' | ')}) ${action} ;;`);
  const flagsOf = (options: Grammar['options']) => options.flatMap(({ flags }) => flags).join(' ');
  return `# shellcheck shell=bash
# Completion of ${name} for bash. Written by \`${name} completion bash\`.

_${name}_offer() {
  local word
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen "$@" -- "$cur")
}

_${name}_paths() {
  type compopt > /dev/null 2>&1 && compopt -o filenames
  _${name}_offer "$@"
}

_${name}_bots() {
  local folder ids=''
  for folder in "\${SINGLEPOLL_DIR:-$HOME/.local/state/singlepoll}"/[1-9]*; do
    folder=\${folder##*/}
    # compgen expands its words: nothing but a number may get there.
    [[ $folder == *[!0-9]* ]] || ids+=" $folder"
  done
  _${name}_offer -W "$ids"
}

_${name}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} option='' command='' worker=0 i word
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ -n $option ]]; then
      # bash makes three words of --option=value.
      [[ $word == '=' ]] || option=''
      continue
    fi
    case $word in
      --)
        worker=$((i + 1))
        break
        ;;
      ${values.map(([flag]) => flag).join(' | ')}) option=$word ;;
      -*) ;;
      *)
        case $command in
          '') command=$word ;;
          ${withWorker.join(' | ')})
            worker=$i
            break
            ;;
        esac
        ;;
    esac
  done
  if ((worker > 0)); then
    if declare -F _command_offset > /dev/null; then
      _command_offset "$worker"
    elif ((worker == COMP_CWORD)); then
      _${name}_offer -c
    else
      _${name}_paths -f
    fi
    return
  fi
  if [[ -n $option ]]; then
    [[ $cur == '=' ]] && cur=''
    case $option in
${cases.join('\n')}
    esac
    return
  fi
  case $command in
    '') _${name}_offer -W ${quote(`${commands.map((it) => it.name).join(' ')} ${flagsOf(grammar.options)}`)} ;;
${commands
  .map(
    (it) => `    ${it.name})
      if [[ $cur == -* ]]; then
        _${name}_offer -W ${quote(flagsOf(it.options))}
      else
        ${offer(it.argument)}
      fi
      ;;`,
  )
  .join('\n')}
  esac
}

complete -F _${name} ${name}
`;

  function offer(value: Value): string {
    switch (value.kind) {
      case 'choice':
        return `_${name}_offer -W ${quote(value.choices.join(' '))}`;
      case 'file':
        return `_${name}_paths -f`;
      case 'folder':
        return `_${name}_paths -d`;
      case 'bot':
        return `_${name}_bots`;
      case 'worker':
        return `_${name}_offer -c`;
      default:
        return ':';
    }
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
