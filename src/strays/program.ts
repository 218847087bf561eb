/**
 * Reads a command line as a person does: which program runs, and which script. `tail -f bot.py` runs tail; `python3 -u bot.py` runs bot.py.
 * The script is the first word that is neither an option nor the value of one, so the options that take a value are listed. PURE.
 */

export interface Program {
  /** Base name of the first argument without a login shell's dash: `python3`, `gunicorn`, `bash`. */
  readonly name: string;
  /** The first argument as given: a path or a name; the first word of a title set by the program itself. */
  readonly path: string;
  /** Interpreter family when it is a known one: `python`, `node`, … */
  readonly family: string | null;
  /**
   * Scripts from the outside in: [`/usr/bin/gunicorn`], [`…/bin/tsx`, `src/bot.ts`], [`bot.py`]. A module has its
   * dotted name. Empty for a program without a script, for a command in the arguments (`-c`), and for standard input.
   */
  readonly scripts: readonly string[];
  /** The innermost script is a module's dotted name (`python -m bots.poller`). */
  readonly module: boolean;
}

interface Interpreter {
  readonly family: string;
  readonly names: RegExp;
  /** Options whose value is the next word. */
  readonly valued: ReadonlySet<string>;
  /** Options that are followed by program text instead of a script. */
  readonly inline: ReadonlySet<string>;
  /** Words before the script that are commands of the interpreter (`deno run`). */
  readonly commands: ReadonlySet<string>;
  /** Options whose value is the script. */
  readonly file: ReadonlySet<string>;
  /** The option whose value is a module's name. */
  readonly module: string | undefined;
}

// Family; names; options with a value; options with program text; commands; options with the script; option with a module.
const INTERPRETERS: readonly Interpreter[] = String.raw`
python; (?:python|pypy)[\d.]*[a-z]?(?:-\w+)?; -W -X --check-hash-based-pycs; -c; ; ; -m
node; (?:node|nodejs)(?:-?v?\d[\d.]*)?|MainThread; -r --require --import --loader --experimental-loader -C --conditions --title --env-file --env-file-if-exists --stack-trace-limit --unhandled-rejections --dns-result-order --watch-path --inspect-port; -e --eval -p --print -pe; inspect watch
node; (?:tsx|ts-node|ts-node-esm|ts-node-dev|tsnd|babel-node|swc-node|nodemon|node-dev)(?:\.[cm]?js)?; --tsconfig -P --project -O --compiler-options -r --require --import --loader --include --exclude --ignore -i -w --watch -e --ext -d --delay -x --exec -s --signal --config -C --cwd --env-file; --eval -p --print; watch
deno; deno; -c --config --import-map --cert --location -L --log-level --ext; eval; run serve watch
bun; bunx?; -r --preload --require --import -c --config --cwd --env-file -d --define; -e --eval -p --print; run watch x
ruby; j?ruby[\d.]*; -I -r -C -E -F; -e
perl; perl[\d.]*; -I; -e -E
php; php(?:-cli|-cgi)?[\d.]*; -d -c -z --define --php-ini; -r -B -R --run; ; -f --file
java; java; -cp -classpath --class-path -p --module-path --add-modules --add-opens --add-exports --add-reads; ; ; -jar -m --module
dotnet; dotnet; --project --runtimeconfig --depsfile; ; exec run watch
runner; uv|poetry|pipenv|pdm|rye|hatch; --with --python -p --project --directory --env-file --package --group --extra --with-requirements -C -P -e --env; ; run
`
  .trim()
  .split('\n')
  .map((row) => {
    const [family = '', names = '', ...options] = row.split(';').map((cell) => cell.trim());
    const [valued, inline, commands, file] = [0, 1, 2, 3].map((at) => new Set(options[at]?.split(' ')));
    return {
      family,
      names: new RegExp(`^(?:${names})$`, 'i'),
      valued: valued!,
      inline: inline!,
      commands: commands!,
      file: file!,
      module: options[4],
    };
  });

const SHELLS =
  /^(?:ba|da|z|k|mk|pdk|a|c|tc|fi|ya|r)?sh$|^(?:busybox|nu|pwsh|xonsh|elvish|osh|ion)$|^bash[\d.]+$/;

export const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

export const isShellName = (name: string): boolean => SHELLS.test(name);

/** Index of the script among `argv`, from `from` on, for an interpreter, and whether it is a module's name. */
function findScript(argv: readonly string[], from: number, kind: Interpreter) {
  const at = (index: number, module = false) => (index < argv.length ? { at: index, module } : null);
  // `uv run …` runs a script, `uv sync` does not.
  const needsCommand = kind.family === 'runner';
  let commandSeen = false;
  for (let i = from; i < argv.length; i++) {
    const arg = argv[i]!;
    const option = optionOf(arg, kind);
    if (kind.inline.has(option) || arg === '-') return null;
    if (kind.module && option === kind.module) return at(i + 1, true);
    if (kind.file.has(option)) return at(i + 1);
    if (arg === '--') return at(i + 1);
    if (kind.valued.has(option)) i += 1;
    else if (arg.startsWith('-')) continue;
    else if (!commandSeen && kind.commands.has(arg)) commandSeen = true;
    else return needsCommand && !commandSeen ? null : at(i);
  }
  return null;
}

/** In `-um` the last letter takes the next word, unless the first takes the rest as its value (`-Wignore`). */
function optionOf(arg: string, kind: Interpreter): string {
  if (!/^-[^-]{2,}$/.test(arg) || kind.inline.has(arg) || kind.file.has(arg) || kind.valued.has(arg))
    return arg;
  const takesValue = (option: string) =>
    kind.valued.has(option) || kind.inline.has(option) || option === kind.module;
  for (let i = 1; i < arg.length; i++) {
    const option = `-${arg[i]}`;
    if (takesValue(option)) return i === arg.length - 1 || kind.inline.has(option) ? option : arg;
  }
  return arg;
}

/** Parses a command line; `comm` is used if there are no arguments. */
export function readProgram(argv: readonly string[], comm = ''): Program {
  const first = argv[0] ?? comm;
  // `gunicorn: master [app]` and `nginx: worker` are titles that the program wrote over its arguments.
  const title = argv.length <= 1 ? /^([^\s/:]+): /.exec(first)?.[1] : undefined;
  // In a title like `singlepoll start` all words are one argument.
  const path = (
    title ?? (argv.length === 1 && !first.startsWith('/') ? first.split(' ')[0]! : first)
  ).replace(/^-/, '');
  const name = baseName(path);
  const scripts: string[] = [];
  let module = false;
  let family: string | null = null;
  let from = 1;
  let inner = name;
  // An interpreter may run a launcher that is one itself (`node …/tsx watch bot.ts`); three levels suffice.
  for (let depth = 0; depth < 3; depth++) {
    const kind = INTERPRETERS.find(({ names }) => names.test(inner));
    if (!kind) break;
    if (depth === 0) family = kind.family;
    const found = findScript(argv, from, kind);
    if (!found) break;
    const script = argv[found.at]!;
    scripts.push(script);
    module = found.module;
    from = found.at + 1;
    inner = baseName(script);
  }
  return { name, path, family, scripts, module };
}

/**
 * True if a pattern matches the program or its script. The match must include a part of the file's own name, so that a
 * folder's name is no match. Relative scripts are also tried with `cwd`, modules as files.
 */
export function matchesProgram(program: Program, cwd: string | null, pattern: RegExp): boolean {
  const candidates = [program.path, ...program.scripts];
  const last = program.scripts.at(-1);
  if (program.module && last !== undefined) candidates.push(`${last.replaceAll('.', '/')}.py`);
  const inFolder = candidates.filter((path) => path !== '' && !path.startsWith('/'));
  if (cwd !== null) candidates.push(...inFolder.map((path) => `${cwd}/${path.replace(/^\.\//, '')}`));
  return candidates.some((path) => reachesName(path, pattern));
}

function reachesName(path: string, pattern: RegExp): boolean {
  const nameAt = path.lastIndexOf('/') + 1;
  if (pattern.test(path.slice(nameAt))) return true;
  if (nameAt === 0) return false;
  const all = new RegExp(pattern.source, pattern.flags.includes('g') ? pattern.flags : `${pattern.flags}g`);
  for (const match of path.matchAll(all)) if (match.index + match[0].length > nameAt) return true;
  return false;
}
