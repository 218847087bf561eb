/**
 * What source code does, by matching and not by parsing: where it polls or sets a webhook, under which conditions, and whether that
 * happens when a file is run or imported. Knows Python, JavaScript with TypeScript, and Go.
 */
import { folderOf, joinPath, lineAt, matchesIn } from './files.ts';

export type Language = 'python' | 'js' | 'go';

export interface Evidence {
  readonly file: string;
  readonly line: number;
  /** The call, such as `run_polling`. */
  readonly what: string;
}

/** `app.py:12 (run_polling)`. */
export const told = ({ file, line, what }: Evidence): string => `${file}:${line} (${what})`;

interface Sign {
  readonly in: Language;
  readonly call: RegExp;
  /** The file must hold this, too. */
  readonly beside?: RegExp;
  /** The arguments must not hold this. */
  readonly not?: RegExp;
}

const BOT = String.raw`\b(?:this\.)?\w*(?:[bB]ot|[tT]elegraf|app)\w*`;
const NOTHING = /^\s*(?:$|["'`]{2}|url\s*=\s*["']{2}|None)/;

const POLLS: readonly Sign[] = [
  { in: 'python', call: /\.(run_polling|start_polling|infinity_polling)\b/g },
  { in: 'python', call: /\.(polling)\s*[(,)]/g, beside: /\btelebot\b|TeleBot/ },
  { in: 'python', call: /\b(?<!def )(get_updates|getUpdates)\s*\(/g },
  { in: 'python', call: /(?:\(\s*["']|\/)(getUpdates)\b/g },
  { in: 'python', call: /\b(MessageLoop)\s*\(/g, beside: /\btelepot\b/ },
  {
    in: 'js',
    call: RegExp(String.raw`${BOT}\.(start)\s*\(`, 'g'),
    beside: /grammy|gramio|puregram|@?[bB]ot\b/,
  },
  { in: 'js', call: /(?<![\w.])(run)\s*\(\s*\w*[bB]ot\w*/g, beside: /@grammyjs\/runner/ },
  { in: 'js', call: RegExp(String.raw`${BOT}\.(launch)\s*\(`, 'g'), not: /webhook/i },
  { in: 'js', call: /\b(polling)\s*:\s*(?:true\b|\{)/g, beside: /node-telegram-bot-api|TelegramBot/ },
  { in: 'js', call: /\.(startPolling)\s*\(/g },
  { in: 'js', call: /\b(getUpdates)\s*\(/g },
  { in: 'js', call: /(?:\(\s*["'`]|\/)(getUpdates)\b/g },
  { in: 'go', call: /\.(GetUpdatesChan|UpdatesViaLongPolling|StartPolling|GetUpdates)\s*\(/g },
  { in: 'go', call: /\b(LongPoller)\s*\{/g },
  { in: 'go', call: /\bb(?:ot)?\.(Start)\s*\(\s*ctx/g, beside: /go-telegram\/bot/ },
];

const WEBHOOKS: readonly Sign[] = [
  {
    in: 'python',
    call: /(?<!def _?)\b(set_webhook|setWebhook|run_webhook|start_webhook)\s*\(/g,
    not: NOTHING,
  },
  { in: 'python', call: /(?:\(\s*["']|\/)(setWebhook)\b/g },
  { in: 'js', call: /\b(setWebhook|setWebHook|webhookCallback|startWebhook)\s*\(/g, not: NOTHING },
  { in: 'js', call: /(?:\(\s*["'`]|\/)(setWebhook)\b(?!\?url=["'`&])/g },
  { in: 'js', call: RegExp(String.raw`${BOT}\.(launch)\s*\(\s*\{[^}]*\bwebhook\b`, 'g') },
  { in: 'go', call: /\b(SetWebhook|NewWebhook\w*)\s*\(/g },
];

/** Every place in a file where it polls by the Bot API. */
export const pollsIn = (path: string, text: string): Evidence[] => find(POLLS, path, text);

/** Every place where it takes its updates by webhook, or sets one. */
export const webhooksIn = (path: string, text: string): Evidence[] => find(WEBHOOKS, path, text);

function find(signs: readonly Sign[], path: string, text: string): Evidence[] {
  const language = languageOf(path);
  const code = language === null ? '' : withoutComments(path, text);
  const found = new Map<number, Evidence>();
  for (const { call, beside, not } of signs.filter((sign) => sign.in === language)) {
    if (beside && !beside.test(text)) continue;
    for (const match of matchesIn(code, call)) {
      const given = argumentsAt(code, match.index + match[0].length);
      if (not?.test(given) || isDeclaration(code, match, given)) continue;
      const line = lineAt(code, match.index);
      if (!found.has(line)) found.set(line, { file: path, line, what: match[1]! });
    }
  }
  return [...found.values()].sort((a, b) => a.line - b.line);
}

/** The text up to the bracket that closes what was open before `from`. */
function argumentsAt(code: string, from: number): string {
  let depth = 1;
  let to = from;
  for (; to < Math.min(code.length, from + 2_000); to++) {
    if ('([{'.includes(code[to]!)) depth += 1;
    else if (')]}'.includes(code[to]!) && --depth === 0) break;
  }
  return code.slice(from, to);
}

const BEFORE_A_METHOD =
  /(?:^|[{;,])\s*(?:(?:public|private|protected|static|abstract|override|declare|export|default|async|function|func)\s+|\*\s*|\(\w+ \*?\w+\)\s*)*$/;

/** `setWebhook(url: string): Promise<void>` of an interface or a class is no call, nor is a function of Go. */
function isDeclaration(code: string, match: RegExpExecArray, given: string): boolean {
  if (!/^\w+\s*\($/.test(match[0])) return false;
  const before = code.slice(code.lastIndexOf('\n', match.index) + 1, match.index);
  // A function of the file's own: what it does stands there.
  if (!before.endsWith('.') && RegExp(`\\bfunction ${match[1]}\\b`).test(code)) return true;
  const after = code.slice(match.index + match[0].length + given.length + 1).split('\n', 1)[0]!;
  return BEFORE_A_METHOD.test(before) && /^\s*[:{(\w[*]/.test(after);
}

export function languageOf(path: string): Language | null {
  if (path.endsWith('.py')) return 'python';
  if (path.endsWith('.go')) return 'go';
  return /\.[cm]?[jt]sx?$/.test(path) ? 'js' : null;
}

// One alternative is a comment (group 1); everything else is skipped over as a whole, so that no quote inside it counts.
const PYTHON =
  /(^[ \t]*(?:[rRuUbB]{0,2})(?:"""[\s\S]*?(?:"""|$(?![\s\S]))|'''[\s\S]*?(?:'''|$(?![\s\S])))|#.*)|"""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?/gm;
const SLASHES =
  /(\/\/.*|\/\*[\s\S]*?(?:\*\/|$(?![\s\S])))|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|`(?:\\[\s\S]|[^`\\])*`?/gm;
/** Shell, YAML, TOML, ini, Dockerfile, Makefile. */
const HASH = /(?<=^|\s)(#.*)$/gm;

/** Comments and docstrings as spaces; every other character, and every line, stays in its place. */
export function withoutComments(path: string, text: string): string {
  const language = languageOf(path);
  const pattern = language === null ? HASH : language === 'python' ? PYTHON : SLASHES;
  return text.replace(pattern, (whole, comment?: string) => comment?.replace(/[^\n]/g, ' ') ?? whole);
}

/** Code that keeps itself single by a lock. */
export const isSingle = (code: string): boolean =>
  /\bflock\b|FileLock|portalocker|fasteners|pg_(try_)?advisory|\bLOCK_EX\b/.test(code);

/** Code that knows the inner process of Werkzeug's and Django's reloader. */
export const knowsReloader = (code: string): boolean =>
  /\bRUN_MAIN\b|WERKZEUG_RUN_MAIN|is_running_from_reloader/.test(code);

const indentOf = (row: string): number => row.replaceAll('\t', '    ').search(/\S|$/);

/** The conditions that a line (from 1) stands under, by indentation: `if …`, `case …`, `else` and the `if` that it belongs to. */
export function conditionsAround(rows: readonly string[], line: number): string[] {
  const found: string[] = [];
  let indent = indentOf(rows[line - 1] ?? '');
  let ifOfElse: number | null = null;
  for (const row of rows.slice(0, line - 1).reverse()) {
    const here = indentOf(row);
    if (row.trim() === '' || (here >= indent && here !== ifOfElse)) continue;
    const branch = /^\s*\}?\s*(else\b|elif\b|if\b|switch\b|case\b|match\b|default\b)/.exec(row)?.[1];
    if (here < indent) ifOfElse = null;
    indent = Math.min(indent, here);
    if (branch === undefined) continue;
    found.push(row.trim());
    ifOfElse = /^el/.test(branch) ? here : here === ifOfElse && branch === 'if' ? null : ifOfElse;
  }
  return found;
}

/** `run`: as a program; `import`: by a server that takes an app from it. */
export type Way = 'run' | 'import';

/** What a framework calls by itself when the app starts, as the decorators and the first line of a function or class tell. */
const HOOK =
  /^(?:@.*\n)*.*(?:on_event|on_startup|startup|lifespan|asynccontextmanager|before_first_request|before_serving|AppConfig|@click|@app\.command|typer|\bdef (?:post_fork|post_worker_init|when_ready|on_starting|main_loop)\b)/;
const PYTHON_IMPORT = /^[ \t]*(?:from[ \t]+(\S+)[ \t]+import[ \t]+(\([^)]*\)|.*)|import[ \t]+(.*))/gm;
const SCRIPT_IMPORT = /\b(?:from|import|require\s*\(|import\s*\()\s*['"`](\.{1,2}(?:\/[^'"`]*)?)['"`]/g;
const ENDINGS = ['', '.ts', '.js', '.mjs', '.cjs', '.tsx', '.mts', '.cts', '.jsx', '/index.ts', '/index.js'];

export type Code = ReturnType<typeof readCode>;

/** What runs when a file is run or imported: it and what it imports, and of their functions those that are named. */
export function readCode(texts: ReadonlyMap<string, string>) {
  const codeOf = memo((path) => withoutComments(path, texts.get(path) ?? ''));
  const pollsOf = memo((path) => pollsIn(path, texts.get(path) ?? ''));
  const blocksOf = memo((path) => (languageOf(path) === 'python' ? blocksIn(path, codeOf(path)) : []));
  const importsOf = memo((path) =>
    languageOf(path) === 'python' ? pythonImports(path) : scriptImports(path),
  );
  const whenRun = memo((path) => firstPoll(path, 'run'));
  const whenImported = memo((path) => firstPoll(path, 'import'));

  /** The file of a dotted name of Python: beside the file that uses it, or in a folder above. */
  function module(name: string, from: string): string | null {
    const path = name.replaceAll('.', '/');
    for (let folder = folderOf(from); path !== ''; folder = folderOf(folder)) {
      const bases = [path, `src/${path}`].map((it) => joinPath(folder, it)!);
      const files = bases.flatMap((it) => [`${it}.py`, `${it}/__init__.py`, `${it}/__main__.py`]);
      const found = files.find((it) => texts.has(it));
      if (found !== undefined || folder === '') return found ?? null;
    }
    return null;
  }

  /** The file of a path that leaves out its ending, has that of the compiled file, or lies in the folder that a build writes. */
  function script(path: string): string | null {
    const bare = path.replace(/\.[cm]?js$/, '');
    const [, above, inside] = /^(.*?)(?:dist|build|out|lib)\/(?:src\/)?(.*)$/.exec(bare) ?? [];
    const sources = inside === undefined ? [] : ['src/', '', 'lib/', 'app/'].map((it) => above + it + inside);
    const candidates = [path, bare, ...sources].flatMap((base) => ENDINGS.map((ending) => base + ending));
    return candidates.find((it) => languageOf(it) === 'js' && texts.has(it)) ?? null;
  }

  const scriptImports = (path: string) =>
    [...codeOf(path).matchAll(SCRIPT_IMPORT)].map(([, it]) => script(joinPath(folderOf(path), it!) ?? ''));

  const pythonImports = (path: string) =>
    [...codeOf(path).matchAll(PYTHON_IMPORT)].flatMap(([, base, names, modules]) => {
      const listed = (names ?? modules ?? '').split(',').map((it) => /[\w.]+/.exec(it)?.[0] ?? '');
      const dotted = base === undefined ? listed : [base, ...listed.map((it) => `${base}.${it}`)];
      return dotted.map((it) => module(it.replace(/^\.+/, ''), path));
    });

  /** The file itself and the project's files that it imports, all the way down. */
  function reached(path: string): string[] {
    const seen = new Set([path]);
    for (const file of seen) for (const target of importsOf(file)) if (target !== null) seen.add(target);
    return [...seen];
  }

  function firstPoll(path: string, way: Way): Evidence | null {
    const files = reached(path);
    const polls = files.flatMap(pollsOf);
    let waiting = polls.length === 0 ? [] : files.flatMap(blocksOf);
    const live: typeof waiting = [];
    const named = new Set<string>();
    for (let before = -1; before < live.length; ) {
      before = live.length;
      const isLive = ({ name, isMain, isHook, file }: (typeof waiting)[number]) =>
        name === undefined ? !isMain || (file === path && way === 'run') : isHook || named.has(name);
      live.push(...waiting.filter(isLive));
      waiting = waiting.filter((block) => !isLive(block));
      for (const word of live.slice(before).flatMap(({ words }) => words)) named.add(word);
    }
    const runs = ({ file, line }: Evidence) =>
      languageOf(file) !== 'python' ||
      live.some((it) => it.file === file && it.first <= line && line <= it.last);
    return polls.find(runs) ?? null;
  }

  return {
    /** The first place that polls when this file runs, or null. */
    polls: (path: string, way: Way) => (way === 'run' ? whenRun(path) : whenImported(path)),
    has: (path: string) => texts.has(path),
    reached,
    module,
    script,
  };
}

/** The statements at the left edge of a Python file, each with what is indented under it. */
function blocksIn(file: string, code: string) {
  let line = 1;
  // Before each line that begins at the left edge, but not between a decorator and what it decorates.
  return code.split(/^(?=[^\s)\]}])(?<!^@.*\n)/m).map((text) => {
    const first = line;
    line += text.split('\n').length - 1;
    return {
      file,
      first,
      last: Math.max(first, line - 1),
      /** Of the function or class that it defines. */
      name: /^(?:@.*\n)*(?:async\s+def|def|class)\s+(\w+)/.exec(text)?.[1],
      isMain: /^if\s+__name__\s*==/.test(text),
      isHook: HOOK.test(text),
      words: text.replace(PYTHON_IMPORT, '').match(/[A-Za-z_]\w*/g) ?? [],
    };
  });
}

function memo<T>(make: (path: string) => T): (path: string) => T {
  const known = new Map<string, T>();
  return (path) => {
    if (!known.has(path)) known.set(path, make(path));
    return known.get(path)!;
  };
}
