/** Where source code polls or sets a webhook, and whether that happens when a file is run or imported: by matching, not by parsing. */
import { type Language, LIBRARIES } from '../intercept/libraries.ts';
import { folderOf, isEnvFile, isKind, lineAt, matchesIn, type Project, pathsInProject } from './files.ts';

/** A place in the code; `what` is the call there, such as `run_polling`. */
export type Evidence = { readonly file: string; readonly line: number; readonly what: string };

/** `app.py:12 (run_polling)`. */
export const told = ({ file, line, what }: Evidence): string => `${file}:${line} (${what})`;

export function languageOf(path: string): Language | null {
  if (path.endsWith('.py')) return 'python';
  if (path.endsWith('.go')) return 'go';
  return /\.[cm]?[jt]sx?$/.test(path) ? 'js' : null;
}

/**
 * Calls that poll or set a webhook: language, pattern of the call (its first group is the name that is told), and what the file must hold
 * besides. BOT is a variable with a bot in it, and EMPTY are arguments that take the webhook away.
 */
const CALLS = String.raw`
poll  python  \.(run_polling|start_polling|infinity_polling)\b
poll  python  \.(polling)\s*[(,)]  \btelebot\b|TeleBot
poll  python  \.(get_updates|getUpdates)\s*\(
poll  python  (?:[(+]\s*["']|\/)(getUpdates)\b
poll  python  \b(MessageLoop)\s*\(  \btelepot\b
poll  js  BOT\.(start)\s*\(  grammy|gramio|puregram|@?[bB]ot\b
poll  js  (?<![\w.])(run)\s*\(\s*\w*[bB]ot\w*  @grammyjs/runner
poll  js  BOT\.(launch)\s*\((?![^)]*[wW]ebhook)
poll  js  \b(polling)\s*:\s*(?:true\b|\{)  node-telegram-bot-api|TelegramBot
poll  js  \.(startPolling)\s*\(
poll  js  \.(getUpdates)\s*\(
poll  js  (?:[(+]\s*["'\x60]|\/)(getUpdates)\b
poll  go  \.(GetUpdatesChan|UpdatesViaLongPolling|StartPolling|GetUpdates)\s*\(
poll  go  \b(LongPoller)\s*\{
poll  go  \bb(?:ot)?\.(Start)\s*\(\s*ctx  go-telegram/bot
hook  python  \.(set_webhook|setWebhook|run_webhook|start_webhook)\s*\((?!EMPTY)
hook  python  (?:[(+]\s*["']|\/)(setWebhook)\b
hook  js  (?:\.|\b(?=webhookC))(setWebhook|setWebHook|webhookCallback|startWebhook)\s*\((?!EMPTY)
hook  js  (?:[(+]\s*["'\x60]|\/)(setWebhook)\b(?!\?url=["'\x60&])
hook  js  BOT\.(launch)\s*\(\s*\{[^}]*\bwebhook\b
hook  go  \.(SetWebhook|NewWebhook\w*)\s*\(`
  .trim()
  .split('\n')
  .map((row) => {
    const [kind, language, call = '', beside = ''] = row.split(/ {2,}/);
    const source = call
      .replace('BOT', String.raw`\b(?:this\.)?\w*(?:[bB]ot|[tT]elegraf|app)\w*`)
      .replace('EMPTY', String.raw`\s*(?:\)|["'\x60]{2}|url\s*=\s*["']{2}|None)`);
    return { kind, language, call: RegExp(source, 'g'), beside: RegExp(beside) };
  });

/** The first library of the table that a project imports, with the place where it does. `apiRoot` is null where it speaks MTProto. */
export function findLibrary(files: readonly { path: string; text: string }[], language?: string) {
  for (const library of LIBRARIES.filter((it) => language === undefined || it.language === language))
    for (const { path: file, text } of files) {
      const match = library.language === languageOf(file) ? library.imported.exec(text) : null;
      if (match) return { ...library, file, line: lineAt(text, match.index + match[0].search(/\S/)) };
    }
  return null;
}

// One alternative is a comment (group 1); everything else is skipped over as a whole, so that no quote inside it counts.
const PYTHON =
  /(^[ \t]*(?:[rRuUbB]{0,2})(?:"""[\s\S]*?(?:"""|$(?![\s\S]))|'''[\s\S]*?(?:'''|$(?![\s\S])))|#.*)|"""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?/gm;
const SLASHES =
  /(\/\/.*|\/\*[\s\S]*?(?:\*\/|$(?![\s\S])))|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|`(?:\\[\s\S]|[^`\\])*`?/gm;
const HASH = /(?<=^|\s)(#.*)$/gm;

/** Comments and docstrings as spaces; every other character, and every line, stays in its place. */
export function withoutComments(path: string, text: string): string {
  const language = languageOf(path);
  const pattern = language === null ? HASH : language === 'python' ? PYTHON : SLASHES;
  return text.replace(pattern, (whole, comment?: string) => comment?.replace(/[^\n]/g, ' ') ?? whole);
}

/** Code that keeps itself single by a lock, or knows the inner process of Werkzeug's and Django's reloader. */
export const minds = (code: string, rule: string): boolean =>
  /\bflock\b|FileLock|portalocker|fasteners|pg_(try_)?advisory|\bLOCK_EX\b/.test(code) ||
  (rule === 'reloader' && /\bRUN_MAIN\b|WERKZEUG_RUN_MAIN|is_running_from_reloader/.test(code));

const indentOf = (row = ''): number => row.replaceAll('\t', '    ').search(/\S|$/);
const BRANCH = /^\s*\}?\s*(else|elif|if|switch|case|match|default)\b/;
const DEFINES = /^\s*(?:export\s+)?(?:async\s+)?(?:def|function|const)\s+(\w+)\s*(?:=\s*(?:async\s*)?)?\(/;

/** The conditions above a line (from 1) that are indented less, and those of the calls of the function that it stands in. */
export function conditionsOf(code: string, line: number): string[] {
  const rows = code.split('\n');
  const name = DEFINES.exec(rows.slice(0, line).findLast((row) => DEFINES.test(row)) ?? '')?.[1] ?? '(?!)';
  const calls = matchesIn(code, RegExp(`\\b${name}\\b`, 'g')).map(({ index }) => lineAt(code, index));
  return [line, ...calls].flatMap((it) => {
    const above = rows.slice(0, it - 1);
    const edge = above.findLastIndex((row) => /^[^\s})]/.test(row) && !BRANCH.test(row));
    const branches = above.slice(edge + 1).filter((row) => BRANCH.test(row));
    return branches.filter((row) => indentOf(row) < indentOf(rows[it - 1]));
  });
}

/** What a framework calls by itself when the app starts, as the decorators and the first line of a function or class tell. */
const HOOK =
  /on_event|on_startup|startup|lifespan|asynccontextmanager|before_first_request|before_serving|AppConfig|@click|@app\.command|typer|\bdef (?:post_fork|post_worker_init|when_ready|on_starting|main_loop)\b/;
const IF_MAIN = /^if\s+__name__\s*==.*\n(?:[ \t].*\n|\n)*/gm;
const PYTHON_IMPORT = /^[ \t]*(?:from[ \t]+(\S+)[ \t]+)?import[ \t]+(\([^)]*\)|.*)/gm;
const SCRIPT_IMPORT = /\b(?:from|import|require\s*\(|import\s*\()\s*['"`](\.{1,2}(?:\/[^'"`]*)?)['"`]/g;

/** The name by which imports and commands mean a file: without its ending, and without the folders of sources and builds. */
const sourceName = (path: string): string =>
  `/${path}`
    .replace(/\.(py|go|[cm]?[jt]sx?)$/, '')
    .replace(/\/(src|lib|dist|build|out)(?=\/)/g, '')
    .replace(/\/(index|__init__)$/, '');

/** Reads the code of a project: finds where it polls, and what of that runs when a file is run or imported. */
export function studyCode(project: Project) {
  const texts = new Map(project.files.map(({ path, text }) => [path, text]));
  const codes = new Map(project.files.map(({ path, text }) => [path, withoutComments(path, text)]));
  const codeOf = (path: string): string => codes.get(path) ?? '';
  const callsIn = (kind: string, files: Project['files']) =>
    files.flatMap(({ path: file, text }) =>
      CALLS.filter((it) => it.kind === kind && it.language === languageOf(file) && it.beside.test(text))
        .flatMap(({ call }) => matchesIn(codeOf(file), call))
        .map((match): Evidence => ({ file, line: lineAt(text, match.index), what: match[1]! }))
        .sort((one, other) => one.line - other.line),
    );
  const allPolls = callsIn('poll', project.files);
  // The last of several files with one name counts, so a source comes behind what a compiler made of it.
  const isSource = (path: string) => Number(!/\bdist\b/.test(path));
  const ordered = [...texts.keys()].reverse().sort((a, b) => isSource(a) - isSource(b));
  const sources = new Map(ordered.map((path) => [`${languageOf(path)}${sourceName(path)}`, path]));

  /** The source file that a path or a dotted name means in a folder or in one above: `dist/bot.js` is src/bot.ts, `/app/bot.py` bot.py. */
  function source(path: string, folder: string, language = languageOf(path)): string | null {
    if (path === '') return null;
    const isDotted = language === 'python' && !/\/|\.py$/.test(path);
    const paths = pathsInProject(isDotted ? path.replaceAll('.', '/') : path, folder);
    const found = paths.map((it) => sources.get(`${language}${sourceName(it)}`)).find(Boolean);
    return found ?? (folder === '' ? null : source(path, folderOf(folder), language));
  }

  const imports = new Map([...codes].map(([path, code]) => [path, importsIn(path, code)]));

  function importsIn(path: string, code: string) {
    const folder = folderOf(path);
    if (languageOf(path) !== 'python')
      return [...code.matchAll(SCRIPT_IMPORT)].map(([, it]) => source(it!, folder, 'js'));
    return [...code.matchAll(PYTHON_IMPORT)].flatMap(([, base = '', names]) =>
      ['', ...names!.split(',')]
        .map((it) => `${base}.${/[\w.]+/.exec(it)?.[0] ?? ''}`.replace(/^\.+|\.$/g, ''))
        .map((it) => source(it, folder, 'python')),
    );
  }

  /** The file itself and the project's files that it imports, all the way down. */
  function reached(path: string): string[] {
    const seen = new Set([path]);
    for (const file of seen) for (const it of imports.get(file) ?? []) if (it !== null) seen.add(it);
    return [...seen];
  }

  /**
   * The first place that polls when this file runs: as a program, or where a server takes an app from it. Python runs of a file what
   * stands at its left edge, and those functions that are named there or that a framework calls.
   */
  function pollsOf(path: string, isProgram: boolean): Evidence | null {
    const isRun = (file: string) => file === path && isProgram;
    const files = reached(path);
    const places = files.flatMap((it) => allPolls.filter(({ file }) => file === it));
    if (places.length === 0) return null;
    /** The code that uses names: imports and definitions name them as well, and don't count. */
    const used = files.map((it) => {
      const code = codeOf(it)
        .replace(PYTHON_IMPORT, '')
        .replace(/\b(def|class)\s+\w+/g, '');
      return isRun(it) ? code : code.replace(IF_MAIN, '');
    });
    const isLive = ({ file, line }: Evidence) => {
      const above = codeOf(file).split('\n').slice(0, line);
      const edge = above.findLastIndex((row) => /^[^\s)\]}]/.test(row));
      const decorators = above.slice(0, edge).findLastIndex((row) => !row.startsWith('@')) + 1;
      const head = above.slice(decorators, edge + 1).join('\n');
      const name = /^(?:async\s+def|def|class)\s+(\w+)/m.exec(head)?.[1];
      if (name === undefined) return isRun(file) || !/^if\s+__name__\s*==/.test(head);
      return HOOK.test(head) || used.some((it) => RegExp(`\\b${name}\\b`).test(it));
    };
    return places.find((it) => languageOf(it.file) !== 'python' || isLive(it)) ?? null;
  }

  const files = project.files.filter(({ path }) => !isKind('aside', path));
  const polls = allPolls.filter(({ file }) => !isKind('aside', file));
  const webhooks = callsIn('hook', files);
  const isMtproto = files.some(({ text }) => /^\s*(from|import)\s+(telethon|pyrogram)\b/m.test(text));
  /** There is Telegram code, and none of it polls. */
  const isForWebhook = polls.length === 0 && (webhooks.length > 0 || isMtproto);
  const settings = files.filter(({ path }) => /singlepoll\.toml$/.test(path) || isEnvFile(path));
  /** The project says that it shares one. */
  const lease = settings.some(({ text }) => /^\s*(export\s+)?(SINGLEPOLL_LEASE|lease)\s*=\s*\S/m.test(text));
  return { project, texts, files, codeOf, polls, webhooks, isForWebhook, lease, source, reached, pollsOf };
}
