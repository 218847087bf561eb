/**
 * Reads a command line the way a person does: which program runs, and which script it runs. PURE.
 * `tail -f bot.py` runs tail; `python3 -u bot.py` runs bot.py; `python -m gunicorn app:app` runs gunicorn.
 * Options that take a value are listed per interpreter, as a script is the first word that is none of them.
 */

/** What a command line runs. */
export interface Program {
  /** Base name of the first argument without a login shell's dash: `python3`, `gunicorn`, `bash`. */
  readonly name: string;
  /** The first argument as given: a path or a name; the first word of a title set by the program itself. */
  readonly path: string;
  /** Interpreter family when it is a known one: `python`, `node`, … */
  readonly family: string | null;
  /**
   * Scripts from the outside in: [`/usr/bin/gunicorn`], [`…/bin/tsx`, `src/bot.ts`], [`bot.py`]. A module is given
   * by its dotted name. Empty for a program of its own, a command given in the arguments (`-c`), standard input.
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
  /** Options after which no script follows: the program text stands in the arguments. */
  readonly inline: ReadonlySet<string>;
  /** Option whose value is the script, and whether that is a module name. */
  readonly names_script: ReadonlyMap<string, 'module' | 'file'>;
  /** Words before the script that are commands of the interpreter (`deno run`, `bun run`). */
  readonly commands: ReadonlySet<string>;
  /** Letters of a bundle like `-um` that end it with a value. */
  readonly letters: string;
}

function words(text: string): ReadonlySet<string> {
  return new Set(text.split(' ').filter(Boolean));
}

const NONE: ReadonlySet<string> = new Set();

const INTERPRETERS: readonly Interpreter[] = [
  {
    family: 'python',
    names: /^(?:python|pypy)[\d.]*[a-z]?(?:-\w+)?$/i,
    valued: words('-W -X --check-hash-based-pycs -Q'),
    inline: words('-c'),
    names_script: new Map([['-m', 'module']]),
    commands: NONE,
    letters: 'mcWX',
  },
  {
    family: 'node',
    names: /^(?:node|nodejs|iojs)(?:-?v?\d[\d.]*)?$|^MainThread$/,
    valued: words(
      '-r --require --import --loader --experimental-loader -C --conditions --title --icu-data-dir ' +
        '--openssl-config --diagnostic-dir --redirect-warnings --trace-event-categories --input-type --env-file ' +
        '--env-file-if-exists --stack-trace-limit --unhandled-rejections --dns-result-order --watch-path ' +
        '--test-reporter --max-http-header-size --tls-keylog --report-dir --report-directory --inspect-port',
    ),
    inline: words('-e --eval -p --print -pe'),
    names_script: new Map(),
    commands: words('inspect watch'),
    letters: '',
  },
  {
    family: 'node',
    names:
      /^(?:tsx|ts-node|ts-node-esm|ts-node-dev|tsnd|babel-node|swc-node|esno|jiti|nodemon|node-dev|supervisor)(?:\.[cm]?js)?$/,
    valued: words(
      '--tsconfig -P --project -O --compiler-options -r --require --import --loader --include --exclude --ignore -i -w ' +
        '--watch -e --ext -d --delay -x --exec -s --signal --config -C --cwd --env-file',
    ),
    inline: words('--eval -p --print'),
    names_script: new Map(),
    commands: words('watch'),
    letters: '',
  },
  {
    family: 'deno',
    names: /^deno$/,
    valued: words(
      '-c --config --import-map --cert --location --seed -L --log-level --ext --node-modules-dir',
    ),
    inline: words('eval'),
    names_script: new Map(),
    commands: words('run serve watch'),
    letters: '',
  },
  {
    family: 'bun',
    names: /^bunx?$/,
    valued: words('-r --preload --require --import -c --config --cwd --env-file --define -d --loader -l'),
    inline: words('-e --eval -p --print'),
    names_script: new Map(),
    commands: words('run watch x'),
    letters: '',
  },
  {
    family: 'ruby',
    names: /^j?ruby[\d.]*$/,
    valued: words('-I -r -C -E -F -K'),
    inline: words('-e'),
    names_script: new Map(),
    commands: NONE,
    letters: 'eIrCE',
  },
  {
    family: 'perl',
    names: /^perl[\d.]*$/,
    valued: words('-I'),
    inline: words('-e -E'),
    names_script: new Map(),
    commands: NONE,
    letters: 'eE',
  },
  {
    family: 'php',
    names: /^php(?:-cli|-cgi)?[\d.]*$/,
    valued: words('-d -c -z --define --php-ini -S -t'),
    inline: words('-r -B -R --run'),
    names_script: new Map([
      ['-f', 'file'],
      ['--file', 'file'],
      ['-F', 'file'],
    ]),
    commands: NONE,
    letters: '',
  },
  {
    family: 'java',
    names: /^java$/,
    valued: words(
      '-cp -classpath --class-path -p --module-path --add-modules --add-opens --add-exports --add-reads',
    ),
    inline: NONE,
    names_script: new Map([
      ['-jar', 'file'],
      ['-m', 'file'],
      ['--module', 'file'],
    ]),
    commands: NONE,
    letters: '',
  },
  {
    family: 'dotnet',
    names: /^dotnet$/,
    valued: words('--project --runtimeconfig --depsfile --fx-version --additionalprobingpath'),
    inline: NONE,
    names_script: new Map(),
    commands: words('exec run watch'),
    letters: '',
  },
  {
    family: 'lua',
    names: /^lua(?:jit)?[\d.]*$/,
    valued: words('-l'),
    inline: words('-e'),
    names_script: new Map(),
    commands: NONE,
    letters: 'el',
  },
];

/** Runners that take a command after their own words: the script they run is found behind them. */
const RUN_COMMANDS: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  [
    'uv',
    words(
      '--with --python -p --project --directory --env-file --package --group --extra --with-requirements',
    ),
  ],
  ['poetry', words('-C --directory -P --project')],
  ['pipenv', words('--python')],
  ['pdm', words('-p --project -s --site-packages')],
  ['rye', NONE],
  ['hatch', words('-e --env')],
]);

const SHELLS =
  /^(?:ba|da|z|k|mk|pdk|a|c|tc|fi|ya|r)?sh$|^(?:busybox|nu|pwsh|xonsh|elvish|osh|ion)$|^bash[\d.]+$/;

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function isShellName(name: string): boolean {
  return SHELLS.test(name);
}

interface Found {
  readonly at: number;
  readonly module: boolean;
}

/** Index of the script among `argv`, from `from` on, for an interpreter. */
function findScript(argv: readonly string[], from: number, kind: Interpreter): Found | null {
  let commandSeen = false;
  for (let i = from; i < argv.length; i++) {
    const arg = argv[i]!;
    if (kind.inline.has(arg)) return null;
    const named = kind.names_script.get(arg);
    if (named) return i + 1 < argv.length ? { at: i + 1, module: named === 'module' } : null;
    if (kind.valued.has(arg)) {
      i += 1;
      continue;
    }
    if (arg === '--') return i + 1 < argv.length ? { at: i + 1, module: false } : null;
    if (arg === '-') return null;
    if (arg.startsWith('-')) {
      const bundled = bundle(arg, kind);
      if (bundled === 'inline') return null;
      if (bundled === 'module-next') return i + 1 < argv.length ? { at: i + 1, module: true } : null;
      if (bundled === 'value-next') i += 1;
      continue;
    }
    if (!commandSeen && kind.commands.has(arg)) {
      commandSeen = true;
      continue;
    }
    return { at: i, module: false };
  }
  return null;
}

/** What a bundle of one-letter options like `-um` means for the words after it. */
function bundle(arg: string, kind: Interpreter): 'inline' | 'module-next' | 'value-next' | 'alone' {
  if (kind.letters === '' || arg.startsWith('--')) return 'alone';
  for (let j = 1; j < arg.length; j++) {
    const letter = arg[j]!;
    if (!kind.letters.includes(letter)) continue;
    const option = `-${letter}`;
    if (kind.inline.has(option)) return 'inline';
    const valueHere = j + 1 < arg.length;
    if (kind.names_script.has(option)) return valueHere ? 'alone' : 'module-next';
    return valueHere ? 'alone' : 'value-next';
  }
  return 'alone';
}

function interpreterOf(name: string): Interpreter | null {
  return INTERPRETERS.find((kind) => kind.names.test(name)) ?? null;
}

const readings = new WeakMap<readonly string[], Program>();

/** Reads a command line. `comm` stands in where there are no arguments. An array is read once, and must not change. */
export function readProgram(argv: readonly string[], comm = ''): Program {
  if (argv.length === 0) return read(argv, comm);
  let program = readings.get(argv);
  if (!program) {
    program = read(argv, comm);
    readings.set(argv, program);
  }
  return program;
}

function read(argv: readonly string[], comm: string): Program {
  const first = argv[0] ?? comm;
  // `gunicorn: master [app]`, `nginx: worker`: a title that the program wrote over its arguments.
  const title = argv.length <= 1 ? /^([^\s/:]+): /.exec(first)?.[1] : undefined;
  // A title like `singlepoll start` has its words in one argument.
  const path = (
    title ?? (argv.length === 1 && !first.startsWith('/') ? first.split(' ')[0]! : first)
  ).replace(/^-/, '');
  const name = baseName(path);
  const scripts: string[] = [];
  let module = false;
  let family: string | null = null;
  let from = 1;
  let inner = name;
  // An interpreter may run a launcher that is one itself (`node …/tsx watch bot.ts`); three deep is plenty.
  for (let depth = 0; depth < 3; depth++) {
    const runner = RUN_COMMANDS.get(inner);
    const kind = runner ? null : interpreterOf(inner);
    if (!runner && !kind) break;
    if (depth === 0) family = kind?.family ?? inner;
    const found = runner ? findRun(argv, from, runner) : findScript(argv, from, kind!);
    if (!found) break;
    const script = argv[found.at]!;
    scripts.push(script);
    module = found.module;
    from = found.at + 1;
    inner = baseName(script);
  }
  return { name, path, family, scripts, module };
}

/** Index of the command behind `uv run …`, `poetry run …`. */
function findRun(argv: readonly string[], from: number, valued: ReadonlySet<string>): Found | null {
  let running = false;
  for (let i = from; i < argv.length; i++) {
    const arg = argv[i]!;
    if (valued.has(arg)) i += 1;
    else if (arg === '--' && running) return i + 1 < argv.length ? { at: i + 1, module: false } : null;
    else if (arg.startsWith('-')) continue;
    else if (running) return { at: i, module: false };
    else if (arg === 'run') running = true;
    else return null;
  }
  return null;
}

/**
 * True when a pattern matches the program or its script: somewhere that reaches into the file's own name, so that
 * the name of a folder above it is no match. Relative scripts are also tried as seen from `cwd`, modules as files.
 */
export function matchesProgram(program: Program, cwd: string | null, pattern: RegExp): boolean {
  const candidates = [program.path, ...program.scripts];
  const last = program.scripts.at(-1);
  if (program.module && last !== undefined) candidates.push(`${last.replaceAll('.', '/')}.py`);
  return candidates.some(
    (path) =>
      reachesName(path, pattern) ||
      (cwd !== null && isRelative(path) && reachesName(`${cwd}/${path.replace(/^\.\//, '')}`, pattern)),
  );
}

function isRelative(path: string): boolean {
  return !path.startsWith('/') && path !== '';
}

function reachesName(path: string, pattern: RegExp): boolean {
  const nameAt = path.lastIndexOf('/') + 1;
  if (pattern.test(path.slice(nameAt))) return true;
  if (nameAt === 0) return false;
  const all = new RegExp(pattern.source, pattern.flags.includes('g') ? pattern.flags : `${pattern.flags}g`);
  for (const match of path.matchAll(all)) if (match.index + match[0].length > nameAt) return true;
  return false;
}
