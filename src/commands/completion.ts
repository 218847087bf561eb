/**
 * `singlepoll completion`: a small script for each shell, which asks the program at every TAB what can be typed. So what is added to
 * a command is completed, too, and bots are those of the state folder that the program itself uses. Where the program has nothing to
 * offer (paths, the worker's command) the shell offers files.
 */
import type { Argument, Command, Option } from 'commander';

const SCRIPTS = {
  bash: `# Completion of singlepoll for bash.
_singlepoll() {
  local cur=\${COMP_WORDS[COMP_CWORD]} line
  COMPREPLY=()
  [[ $cur == '=' ]] && cur=''
  while IFS= read -r line; do
    COMPREPLY+=("\${line%%$'\\t'*}")
  done < <(singlepoll __complete "\${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null)
  ((\${#COMPREPLY[@]} > 0)) && return
  type compopt > /dev/null 2>&1 && compopt -o filenames
  while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$cur")
}
complete -F _singlepoll singlepoll
`,
  zsh: `#compdef singlepoll
# Completion of singlepoll for zsh: a file _singlepoll in $fpath, or read by \`source\` after compinit.
_singlepoll() {
  local line tab=$'\\t'
  local -a described
  for line in "\${(@f)$(singlepoll __complete "\${(@Q)words[2,CURRENT]}" 2> /dev/null)}"; do
    [[ -n $line ]] && described+=("\${\${line%%$tab*}//:/\\\\:}:\${line#*$tab}")
  done
  if ((\${#described})); then
    _describe singlepoll described
  else
    compset -P '--*='
    _files
  fi
}
if [[ $funcstack[1] == _singlepoll ]]; then
  _singlepoll "$@"
else
  compdef _singlepoll singlepoll
fi
`,
  fish: `# Completion of singlepoll for fish.
function __singlepoll_complete
    set -l current (commandline -ct)
    set -l words (commandline -opc)
    set -l lines (singlepoll __complete $words[2..-1] "$current" 2> /dev/null)
    if test (count $lines) -gt 0
        string join \\n -- $lines
    else
        set -l before (string match -r -- '^--[^=]*=' $current)
        for path in (__fish_complete_path (string replace -r -- '^--[^=]*=' '' $current))
            echo "$before$path"
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
  // bash makes three words of --option=value.
  const current = (words.at(-1) ?? '').replace(/^=$/, '');
  const offered = await offers(program, words.slice(0, -1), current);
  const matching = offered.filter((line) => line.startsWith(current));
  process.stdout.write(matching.map((line) => `${line}\n`).join(''));
  return 0;
}

/** Words, each with a description behind a tab. */
async function offers(
  program: Command,
  words: readonly string[],
  current: string,
): Promise<readonly string[]> {
  let command = program;
  let isArgumentGiven = false;
  let waiting: Option | null = null;
  for (const word of words) {
    if (word === '=' && waiting) continue;
    if (waiting) waiting = null;
    else if (word === '--' || isArgumentGiven) return [];
    else if (word.startsWith('-')) waiting = optionOf(command, word);
    else if (command !== program) isArgumentGiven = true;
    else {
      const found = program.commands.find((it) => it.name() === word);
      if (!found) return [];
      command = found;
    }
  }
  if (waiting) return await valuesOf(waiting);
  const before = /^--[^=]+=/.exec(current)?.[0];
  if (before !== undefined) {
    const values = await valuesOf(optionOf(command, before.slice(0, -1)));
    return values.map((value) => before + value);
  }
  if (current.startsWith('-'))
    return command.options
      .filter(({ hidden }) => !hidden)
      .flatMap(({ long, short, description }) => [describe(long, description), describe(short, description)])
      .concat(describe('--help', 'show its options'));
  if (command === program) return program.commands.map((it) => describe(it.name(), it.summary()));
  return isArgumentGiven ? [] : await valuesOf(command.registeredArguments[0]);
}

/** With the first clause of the description. */
function describe(word: string | undefined, description: string): string {
  return word ? `${word}\t${description.split(/; | \(default/)[0]!.slice(0, 80)}` : '';
}

/** The option that waits for a value; null: none of this name, or a flag. */
function optionOf(command: Command, word: string): Option | null {
  const option = command.options.find(({ long, short }) => word === long || word === short);
  return option?.required ? option : null;
}

/** Lists the values that an option or an argument takes. */
async function valuesOf(of: Option | Argument | null | undefined): Promise<readonly string[]> {
  if (of?.argChoices) return of.argChoices;
  const placeholder = of && 'flags' in of ? /<(.*)>/.exec(of.flags)?.[1] : of?.name();
  if (placeholder === 'bot') {
    const { knownBots } = await import('./find.ts');
    return knownBots().flatMap(({ id }) => (id === 0 ? [] : [String(id)]));
  }
  return placeholder?.includes('|') ? placeholder.split('|') : [];
}
