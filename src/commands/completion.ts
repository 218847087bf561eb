/**
 * `singlepoll completion`: a small script for each shell, which asks the program at every TAB what can be typed. So what is added to
 * a command is completed, too, and bots are those of the state folder that the program itself uses.
 */
import type { Command, Option } from 'commander';

/** An offer: words with their descriptions, or a kind that the shell completes better: files, folders, another command line. */
const FILES = ':files';
const FOLDERS = ':folders';
/** With the number of words before that command line. */
const COMMAND = ':command';

const SCRIPTS = {
  bash: `# Completion of singlepoll for bash.
_singlepoll() {
  local cur=\${COMP_WORDS[COMP_CWORD]} line word
  COMPREPLY=()
  [[ $cur == '=' ]] && cur=''
  while IFS= read -r line; do
    case $line in
      :files | :folders)
        type compopt > /dev/null 2>&1 && compopt -o filenames
        [[ $line == :files ]] && line=-f || line=-d
        while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen "$line" -- "$cur")
        ;;
      :command*)
        if declare -F _command_offset > /dev/null; then
          _command_offset $((\${line#* } + 1))
        else
          while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -c -f -- "$cur")
        fi
        ;;
      *) COMPREPLY+=("\${line%%$'\\t'*}") ;;
    esac
  done < <(singlepoll __complete "\${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null)
}
complete -F _singlepoll singlepoll
`,
  zsh: `#compdef singlepoll
# Completion of singlepoll for zsh: a file _singlepoll in $fpath, or read by \`source\` after compinit.
_singlepoll() {
  local line tab=$'\\t'
  local -a lines described
  lines=("\${(@f)$(singlepoll __complete "\${(@Q)words[2,CURRENT]}" 2> /dev/null)}")
  case $lines[1] in
    :files) compset -P '--*='; _files ;;
    :folders) compset -P '--*='; _files -/ ;;
    :command*)
      shift $((\${lines[1]#* } + 1)) words
      ((CURRENT -= \${lines[1]#* } + 1))
      _normal
      ;;
    ?*)
      for line in $lines; do described+=("\${\${line%%$tab*}//:/\\\\:}:\${line#*$tab}"); done
      _describe singlepoll described
      ;;
  esac
}
if [[ $funcstack[1] == _singlepoll ]]; then
  _singlepoll "$@"
else
  compdef _singlepoll singlepoll
fi
`,
  fish: `# Completion of singlepoll for fish.
function __singlepoll_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (singlepoll __complete $words[2..-1] "$current" 2> /dev/null)
        switch $line
            case ':files' ':folders'
                set -l before (string match -r -- '^--[^=]*=' $current)
                for path in (__fish_complete_path (string replace -r -- '^--[^=]*=' '' $current))
                    echo "$before$path"
                end
            case ':command*'
                set -l at (math (string replace ':command ' '' -- $line) + 2)
                complete -C (string join ' ' -- (string escape -- $words[$at..-1]) $current)
            case '*'
                echo $line
        end
    end
end
complete -c singlepoll -f -a '(__singlepoll_complete)'
`,
};

export function run(shell: keyof typeof SCRIPTS): number {
  process.stdout.write(SCRIPTS[shell]);
  return 0;
}

/** Prints what can stand for the last of `words`, which are those behind `singlepoll`. */
export async function complete(program: Command, words: readonly string[]): Promise<number> {
  const offered = await offers(program, words);
  process.stdout.write(offered.map((line) => `${line}\n`).join(''));
  return 0;
}

async function offers(program: Command, typed: readonly string[]): Promise<string[]> {
  const words = typed.slice(0, -1);
  // bash makes three words of --option=value.
  const current = (typed.at(-1) ?? '').replace(/^=$/, '');
  let command = program;
  let arguments_ = 0;
  let waiting: Option | null = null;
  for (const [index, word] of words.entries()) {
    if (word === '=' && waiting) continue;
    if (waiting) waiting = null;
    else if (word === '--') return [`${COMMAND} ${index + 1}`];
    else if (word.startsWith('-')) waiting = optionOf(command, word);
    else if (command === program) {
      const found = program.commands.find((it) => it.name() === word);
      if (!found) return [];
      command = found;
    } else if (command.registeredArguments[0]?.variadic) return [`${COMMAND} ${index}`];
    else arguments_++;
  }
  if (waiting) return matching(await valuesOf(waiting), current);
  const [, before, value] = /^(--[^=]+=)(.*)$/s.exec(current) ?? [];
  if (before !== undefined && value !== undefined) {
    const option = optionOf(command, before.slice(0, -1));
    const values = option ? matching(await valuesOf(option), value) : [];
    return values.map((it) => (it.startsWith(':') ? it : before + it));
  }
  if (current.startsWith('-')) return matching(flagsOf(command), current);
  if (command === program)
    return matching(
      program.commands.map((it) => `${it.name()}\t${short(it.summary())}`),
      current,
    );
  const argument = command.registeredArguments[arguments_];
  if (!argument) return [];
  if (argument.variadic) return [`${COMMAND} ${words.length}`];
  return matching(argument.argChoices ?? (argument.name() === 'folder' ? [FOLDERS] : []), current);
}

function matching(offered: readonly string[], current: string): string[] {
  return offered.filter((it) => it.startsWith(':') || it.startsWith(current));
}

/** The option that waits for a value; null: none of this name, or a flag. */
function optionOf(command: Command, word: string): Option | null {
  const option = command.options.find(({ long, short: letter }) => word === long || word === letter);
  return option?.required ? option : null;
}

function flagsOf(command: Command): string[] {
  const shown = command.options.filter(({ hidden }) => !hidden);
  return [
    ...shown.flatMap(({ long, short: letter, description }) =>
      [long, letter].filter(Boolean).map((flag) => `${flag}\t${short(description)}`),
    ),
    '--help\tshow its options',
  ];
}

async function valuesOf({ flags, argChoices }: Option): Promise<readonly string[]> {
  const placeholder = /<(.*)>/.exec(flags)?.[1] ?? '';
  if (argChoices) return argChoices;
  if (placeholder === 'path') return [FILES];
  if (placeholder.includes('@username')) {
    const { knownBots } = await import('./find.ts');
    return knownBots()
      .filter(({ id }) => id !== 0)
      .map(({ id }) => String(id));
  }
  return placeholder.includes('|') ? placeholder.split('|') : [];
}

/** The first clause. */
function short(description: string): string {
  return (description.split(/; | \(default/)[0] as string).slice(0, 80);
}
