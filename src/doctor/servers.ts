/** Web servers with several workers, reloaders and watchers: the same polling code in more than one process. */
import { conditionsAround, withoutComments } from '../project/code.ts';
import type { Facts } from '../project/facts.ts';
import { baseOf, folderOf, isAside, isExample, joinPath, lineAt } from '../project/files.ts';
import { isDevelopmentName, isEnvFile, languageOf } from '../project/kinds.ts';
import type { Launch } from '../project/launches.ts';
import type { Evidence } from '../project/polling.ts';
import { pythonFile } from '../project/reach.ts';
import { optionValue, type Run } from '../project/run.ts';
import { type Finding, place, type Rule } from './finding.ts';

type Said = Omit<Finding, 'rule'>;

/** Code that keeps itself single: a file lock, or the mark of Werkzeug's inner process. */
const OWN_LOCK = /\bflock\b|FileLock|portalocker|fasteners|pg_(try_)?advisory|\bLOCK_EX\b/;

interface Served {
  readonly launch: Launch;
  readonly run: Run;
  readonly polls: Evidence;
}

function served(facts: Facts, servers: RegExp): Served[] {
  return facts.launches.flatMap((launch) =>
    launch.runs.flatMap((run) => {
      if (!servers.test(run.program) || run.target === null) return [];
      const found = facts.reach.polls(run.target, run.way);
      return found === null || OWN_LOCK.test(facts.text(found.file)) ? [] : [{ launch, run, polls: found }];
    }),
  );
}

const noted = (development: boolean): { note?: true } => (development ? { note: true } : {});

/** `-w 4`, or what the settings around it say; null where nothing says more than one. */
function workersOf(
  facts: Facts,
  { launch, run }: Served,
): { count: string; file: string; line: number } | null {
  const here = { file: launch.file, line: launch.line };
  const given = optionValue(
    run.words,
    run.program === 'gunicorn' || run.program === 'hypercorn'
      ? ['--workers', '-w']
      : ['--workers', '--processes'],
  );
  if (given !== null) return many(given) ? { count: given, ...here } : null;
  if (run.program === 'gunicorn') {
    const named = optionValue(run.words, ['--config', '-c'])?.replace(/^file:/, '') ?? 'gunicorn.conf.py';
    const path = joinPath(launch.folder, named.replace(/^\/(?:app|code|usr\/src\/app)\//, ''));
    const config = path === null ? undefined : facts.project.files.find((file) => file.path === path);
    const match = /^workers\s*=\s*(.+)$/m.exec(withoutComments(config?.path ?? 'x.py', config?.text ?? ''));
    if (config && match) {
      const count = match[1]!.trim();
      return many(count) ? { count, file: config.path, line: lineAt(config.text!, match.index) } : null;
    }
  }
  if (launch.env.WEB_CONCURRENCY !== undefined)
    return many(launch.env.WEB_CONCURRENCY) ? { count: launch.env.WEB_CONCURRENCY, ...here } : null;
  return /^(gunicorn|uvicorn)$/.test(run.program) ? webConcurrency(facts) : null;
}

function webConcurrency(facts: Facts): { count: string; file: string; line: number } | null {
  for (const { path, text } of facts.project.files) {
    if (text === null || isAside(path) || isExample(path)) continue;
    if (!isEnvFile(path) && !/ockerfile|compose[\w.-]*\.ya?ml$|fly\.toml$|render\.yaml$/.test(path)) continue;
    const match = /^\s*(?:-\s*)?(?:ENV\s+|export\s+)?["']?WEB_CONCURRENCY["']?\s*[=:\s]\s*["']?(\d+)/m.exec(
      text,
    );
    if (match && many(match[1]!)) {
      return { count: match[1]!, file: path, line: lineAt(text, match.index + match[0].search(/\S/)) };
    }
  }
  return null;
}

/** More than one worker, or a number that only the machine knows. */
function many(count: string): boolean {
  if (/^\s*\d+\s*$/.test(count)) return Number(count) > 1;
  const fallback = /(?:getenv|environ\.get)\s*\([^,()]+,\s*["']?(\d+)/.exec(count)?.[1];
  if (fallback !== undefined) return Number(fallback) > 1;
  return /cpu_count|nproc|\*/.test(count);
}

function oneWorker({ run }: Served): string {
  const words = run.words.filter((word, index) => {
    const before = run.words[index - 1] ?? '';
    return (
      !/^(--workers|-w|--processes)(=|$)|^-w\d+$/.test(word) && !/^(--workers|-w|--processes)$/.test(before)
    );
  });
  return `${words.join(' ')} --workers 1`;
}

const workers: Rule = {
  id: 'server-workers',
  about: 'gunicorn, uvicorn, hypercorn, granian with more than one worker, whose app polls',
  check: (facts) =>
    served(facts, /^(gunicorn|uvicorn|hypercorn|granian|fastapi|uwsgi)$/).flatMap((one) => {
      const found = workersOf(facts, one);
      if (found === null) return [];
      // With --preload a thread of the module runs in the master alone.
      const preloaded =
        one.run.words.includes('--preload') &&
        !/lifespan|on_event|startup|post_fork/.test(facts.text(one.polls.file));
      if (preloaded) return [];
      const own = found.file === one.launch.file;
      return [
        {
          file: found.file,
          line: found.line,
          why: `${one.run.program} runs ${/^\d+$/.test(found.count) ? found.count : `several (${found.count})`} workers, and each of them polls: ${place(one.polls)} (${one.polls.what})`,
          cure: own ? oneWorker(one) : found.file.endsWith('.py') ? 'workers = 1' : 'WEB_CONCURRENCY=1',
          ...noted(one.launch.development && own),
        },
      ];
    }),
};

const RELOAD = /^--(reload|reloader|debug)(=true)?$/;

const reloader: Rule = {
  id: 'reloader',
  about: '--reload, Flask’s debug reloader, Django’s runserver, beside code that polls',
  check: (facts) => [
    ...serverReloads(facts),
    ...flaskInCode(facts),
    ...uvicornInCode(facts),
    ...runserver(facts),
  ],
};

function serverReloads(facts: Facts): Said[] {
  return served(facts, /^(gunicorn|uvicorn|hypercorn|flask|fastapi|litestar|granian)$/).flatMap(
    ({ launch, run, polls }) => {
      if (
        run.words.includes('--no-reload') ||
        /WERKZEUG_RUN_MAIN|is_running_from_reloader/.test(facts.text(polls.file))
      )
        return [];
      const flag = run.words.find(
        (word) => RELOAD.test(word) && (word !== '--debug' || run.program === 'flask'),
      );
      const fastapiDev = run.program === 'fastapi' && run.words[1] === 'dev';
      const debug = run.program === 'flask' ? flaskDebug(facts, launch) : null;
      if (!flag && !fastapiDev && !debug) return [];
      const words = run.words.filter((word) => word !== flag);
      const plainly = fastapiDev ? words.join(' ').replace('fastapi dev', 'fastapi run') : words.join(' ');
      return [
        {
          file: debug?.file ?? launch.file,
          line: debug?.line ?? launch.line,
          why: `${debug ? 'Flask’s debug mode' : `${run.program} ${flag ?? 'dev'}`} starts the app in a second process, and again at every change of a file; the app polls: ${place(polls)} (${polls.what})`,
          cure: run.program === 'flask' ? `${words.join(' ')} --no-reload` : plainly,
          ...noted(launch.development || (debug !== null && /flaskenv/.test(debug.file))),
        },
      ];
    },
  );
}

/** FLASK_DEBUG=1 around a `flask run`. */
function flaskDebug(facts: Facts, launch: Launch): { file: string; line: number } | null {
  const on = (value: string | undefined) =>
    value !== undefined && /^(1|true|on|yes|development)$/i.test(value);
  if (on(launch.env.FLASK_DEBUG) || on(launch.env.FLASK_ENV)) return { file: launch.file, line: launch.line };
  for (const { path, text } of facts.project.files) {
    if (text === null || isExample(path) || isAside(path)) continue;
    if (!isEnvFile(path) && !/ockerfile|compose[\w.-]*\.ya?ml$/.test(path)) continue;
    const match =
      /^\s*(?:-\s*)?(?:ENV\s+|export\s+)?(?:FLASK_DEBUG|FLASK_ENV)\s*[=:\s]\s*["']?(1|true|on|development)\b/im.exec(
        text,
      );
    if (match) return { file: path, line: lineAt(text, match.index + match[0].search(/\S/)) };
  }
  return null;
}

function flaskInCode(facts: Facts): Said[] {
  return pythonFiles(facts).flatMap(({ path, code }) => {
    if (!/\b(flask|quart|dash)\b/i.test(code) || /WERKZEUG_RUN_MAIN|is_running_from_reloader/.test(code))
      return [];
    return calls(code, /\b\w*(?:app|server|socketio)\w*\.run\s*\(/g).flatMap(({ line, given }) => {
      if (!/\b(debug|use_reloader)\s*=\s*True/.test(given) || /use_reloader\s*=\s*False/.test(given))
        return [];
      const polls = facts.reach.polls(path, 'run');
      if (polls === null || OWN_LOCK.test(facts.text(polls.file))) return [];
      if (/WERKZEUG_RUN_MAIN|is_running_from_reloader/.test(facts.text(polls.file))) return [];
      return [
        {
          file: path,
          line,
          why: `Flask’s debug reloader runs this program twice, and both poll: ${place(polls)} (${polls.what})`,
          cure: 'app.run(debug=True, use_reloader=False)',
        },
      ];
    });
  });
}

function uvicornInCode(facts: Facts): Said[] {
  return pythonFiles(facts).flatMap(({ path, code }) =>
    calls(code, /\buvicorn\.run\s*\(/g).flatMap(({ line, given }) => {
      const reload = /\breload\s*=\s*True/.test(given);
      const count = /\bworkers\s*=\s*([^,)\n]+)/.exec(given)?.[1];
      if (!reload && !(count !== undefined && many(count))) return [];
      const module = /^\s*f?["']([\w.]+):/.exec(given)?.[1];
      const target = module === undefined ? path : (pythonFile(module, path, facts.reach) ?? path);
      const polls = facts.reach.polls(target, 'import');
      if (polls === null || OWN_LOCK.test(facts.text(polls.file))) return [];
      const guarded = conditionsAround(code.split('\n'), line).some((condition) =>
        /debug|dev|local/i.test(condition),
      );
      if (reload && guarded) return [];
      return [
        {
          file: path,
          line,
          why: `uvicorn ${reload ? 'with reload starts the app anew at every change of a file' : `runs ${count} workers`}, and the app polls: ${place(polls)} (${polls.what})`,
          cure: reload ? 'uvicorn.run(app, reload=False)' : 'uvicorn.run(app, workers=1)',
        },
      ];
    }),
  );
}

/** Django's runserver imports every app twice; polling stands in some apps.py. */
function runserver(facts: Facts): Said[] {
  return facts.launches.flatMap((launch) =>
    launch.runs.flatMap((run) => {
      if (!run.words.includes('runserver') || run.words.includes('--noreload')) return [];
      for (const { path, code } of pythonFiles(facts)) {
        if (baseOf(path) !== 'apps.py' || /RUN_MAIN/.test(code)) continue;
        const polls = facts.reach.polls(path, 'import');
        if (polls === null) continue;
        return [
          {
            file: launch.file,
            line: launch.line,
            why: `Django’s runserver loads the apps in two processes, and one of them polls: ${place(polls)} (${polls.what})`,
            cure: `${run.words.join(' ')} --noreload`,
            ...noted(launch.development),
          },
        ];
      }
      return [];
    }),
  );
}

const watcher: Rule = {
  id: 'watcher',
  about: 'nodemon, node --watch, tsx watch, watchmedo and other watchers that start the bot',
  check: (facts) =>
    facts.launches.flatMap((launch) =>
      launch.runs.flatMap((run) => {
        if (run.watcher === null) return [];
        const polls = run.target === null ? unnamed(facts, run) : facts.reach.polls(run.target, run.way);
        if (polls === null) return [];
        return [
          {
            file: launch.file,
            line: launch.line,
            why: `${run.watcher} starts the bot again at every change of a file, also while the one before still ends${
              launch.development ? '; with the token of the running bot, both poll' : ''
            }: ${place(polls)} (${polls.what})`,
            cure: launch.development
              ? 'a second bot from @BotFather for development'
              : `start the bot itself: ${plainly(run, launch)}`,
            ...noted(launch.development),
          },
        ];
      }),
    ),
};

/** nodemon alone, `air`, `cargo watch -x run`: what they start is the project itself. */
function unnamed(facts: Facts, { words }: Run): Evidence | null {
  const isOther = words.some((word) => /test|jest|vitest|mocha|lint|tsc|build|check/.test(word));
  const isItself = /^(nodemon|air|gow|reflex|CompileDaemon|cargo)$/.test(words[0] ?? '');
  return isItself && !isOther ? (facts.polls[0] ?? null) : null;
}

function plainly(run: Run, launch: Launch): string {
  const file = run.target ?? '';
  const shown = folderOf(launch.file) === '' ? file : file.slice(folderOf(launch.file).length + 1);
  if (languageOf(file) === 'python') return `python ${shown}`;
  if (/\.[cm]?tsx?$/.test(file)) return `tsx ${shown}`;
  if (languageOf(file) === 'js') return `node ${shown}`;
  return `without ${run.watcher}`;
}

function pythonFiles(facts: Facts): { path: string; code: string }[] {
  return facts.project.files.flatMap(({ path, text }) =>
    text === null ||
    isAside(path) ||
    languageOf(path) !== 'python' ||
    isDevelopmentName(baseOf(path).replace(/\.py$/, ''))
      ? []
      : [{ path, code: withoutComments(path, text) }],
  );
}

/** Every call with the text of its arguments. */
export function calls(code: string, pattern: RegExp): { line: number; given: string; index: number }[] {
  return [...code.matchAll(pattern)].map((match) => {
    const from = match.index + match[0].length;
    let depth = 1;
    let to = from;
    while (to < code.length && depth > 0 && to < from + 2_000) {
      if (code[to] === '(') depth += 1;
      if (code[to] === ')') depth -= 1;
      to += 1;
    }
    return { line: lineAt(code, match.index), given: code.slice(from, to - 1), index: match.index };
  });
}

export const SERVER_RULES: readonly Rule[] = [workers, reloader, watcher];
