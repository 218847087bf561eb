/** Lines of code and scripts that end somebody's polling, lose updates, or are a second poller themselves. */
import { argumentsAt, conditionsAround, isSingle, knowsReloader, told, withoutComments } from './code.ts';
import { isSeveral } from './commands.ts';
import { type Finding, isBotName, isForDevelopment, lineAt } from './files.ts';
import type { Facts } from './processes.ts';

interface Hit {
  readonly file: string;
  readonly line: number;
  readonly match: RegExpExecArray;
  /** The arguments, where the match ends with a bracket. */
  readonly given: string;
  /** The code around it. */
  readonly rows: readonly string[];
}

interface LineRule {
  readonly rule: string;
  readonly in: RegExp;
  readonly line: RegExp;
  /** Null: nothing is wrong here. */
  readonly why: (hit: Hit, facts: Facts) => string | null;
  readonly cure: string;
}

const CODE = /\.(py|[cm]?[jt]sx?|go)$/;
/** What runs by itself: shell, make, health checks of compose, CI. */
export const SCRIPT = /\.(sh|bash|ya?ml|service|cron)$|ockerfile|akefile$|justfile$|crontab$|package\.json$/;
/** Settings with variables. */
const SET =
  /(^|\/)\.?env(\.(?!example|sample)[^/]*)?$|\.env$|\.flaskenv$|ockerfile|(compose[\w.-]*|render)\.ya?ml$|fly\.toml$/;
const HOOK = 'as long as a webhook is set, every getUpdates is answered with 409; this project polls';
const NEGATIVE = 'a negative offset forgets all earlier updates, and confirms them for whoever polls besides';
const NEXT = 'offset = the last update_id + 1';
const COUNT = 'start 1, or let one copy poll and the others stand by: singlepoll start --lease';

const LINES: readonly LineRule[] = [
  {
    rule: 'drops-pending',
    in: CODE,
    line: /\b(drop_?pending(?:_?updates)?|skip_?(?:pending|updates))\b["']?\s*[=:]\s*(?:true|1)\b/gi,
    why: ({ match, rows, line }, { polls }) => {
      const isChosen = conditionsAround(rows, line).some((it) =>
        /\b(args|argv|flag|debug|dev|drop|reset|clean)/i.test(it),
      );
      if (polls.length === 0 || isChosen) return null;
      return `${match[1]}: every start throws away the messages that came in meanwhile, also after a crash or a take-over`;
    },
    cure: 'without it; where it is wanted once: singlepoll start --drop-pending',
  },
  {
    rule: 'negative-offset',
    in: CODE,
    line: /(?<![\w.])["']?offset["']?\s*[=:]\s*-\s*\d+/g,
    why: ({ rows, line }) =>
      /get_?updates/i.test(rows.slice(Math.max(0, line - 6), line + 5).join('\n')) ? NEGATIVE : null,
    cure: NEXT,
  },
  {
    rule: 'negative-offset',
    in: SCRIPT,
    line: /getUpdates\S*[?&\s"']offset["']?[=:]\s*-\d/g,
    why: () => NEGATIVE,
    cure: NEXT,
  },
  {
    rule: 'script-polls',
    in: SCRIPT,
    line: /\b(?:curl|wget|https?|xh)\b.*\/getUpdates\b/gi,
    why: () => 'this getUpdates is a poller, too: it takes the poll from the bot, which gets a 409',
    cure: 'ask getMe instead, or singlepoll status',
  },
  {
    rule: 'script-polls',
    in: SCRIPT,
    line: /\b(?:curl|wget|https?|xh)\b.*\/setWebhook\b(?!\S*[?&]url=(?:["'&\s]|$))/gi,
    why: (_, { polls }) => (polls[0] ? `setWebhook: ${HOOK}: ${told(polls[0])}` : null),
    cure: 'take the line out',
  },
  {
    rule: 'reloader',
    in: /\.py$/,
    line: /\b\w*(?:app|server|socketio)\w*\.run\s*\(/g,
    why: ({ file, given, rows }, { code, texts }) => {
      const isReloading =
        /\b(debug|use_reloader)\s*=\s*True/.test(given) && !/use_reloader\s*=\s*False/.test(given);
      const polls =
        isReloading && /\b(flask|quart|dash)\b/i.test(rows.join('\n')) ? code.polls(file, 'run') : null;
      const around = `${polls && texts.get(polls.file)}\n${rows.join('\n')}`;
      if (polls === null || isForDevelopment(file) || isSingle(around) || knowsReloader(around)) return null;
      return `Flask’s debug reloader runs this program twice, and both poll: ${told(polls)}`;
    },
    cure: 'app.run(debug=True, use_reloader=False)',
  },
  {
    rule: 'reloader',
    in: /\.py$/,
    line: /\buvicorn\.run\s*\(/g,
    why: ({ file, line, given, rows }, { code, texts }) => {
      const module = /^\s*f?["']([\w.]+):/.exec(given)?.[1];
      const polls = code.polls((module && code.module(module, file)) || file, 'import');
      if (polls === null || isForDevelopment(file) || isSingle(texts.get(polls.file) ?? '')) return null;
      const isChosen = conditionsAround(rows, line).some((it) => /debug|dev|local/i.test(it));
      if (/\breload\s*=\s*True/.test(given) && !isChosen)
        return `uvicorn with reload starts the app anew at every change of a file, and the app polls: ${told(polls)}`;
      const count = /\bworkers\s*=\s*([^,)\n]+)/.exec(given)?.[1] ?? '1';
      return isSeveral(count) ? `uvicorn runs ${count} workers, and the app polls: ${told(polls)}` : null;
    },
    cure: 'uvicorn.run(app, reload=False, workers=1)',
  },
  {
    rule: 'server-workers',
    in: /(^|\/)gunicorn[^/]*\.py$/,
    line: /^workers\s*=\s*(.+)$/gm,
    why: ({ match }, facts) =>
      isSeveral(match[1]!)
        ? served(facts, /^gunicorn(?!.* (--workers|-w))/, `gunicorn runs ${match[1]} workers`)
        : null,
    cure: 'workers = 1',
  },
  {
    rule: 'server-workers',
    in: SET,
    line: /(?<=^|ENV |export |[\s"'-])WEB_CONCURRENCY["']?\s*[=:\s]\s*["']?([2-9]|\d\d+)\b/gm,
    why: ({ match }, facts) =>
      served(facts, /^(gunicorn|uvicorn)(?!.* (--workers|-w))/, `the server runs ${match[1]} workers`),
    cure: 'WEB_CONCURRENCY=1',
  },
  {
    rule: 'reloader',
    in: SET,
    line: /(?<=^|ENV |export |[\s"'-])FLASK_(DEBUG|ENV)["']?\s*[=:\s]\s*["']?(1|true|on|development)\b/gim,
    why: (_, facts) =>
      served(facts, /^flask(?!.* --no-reload)/, 'Flask’s debug mode starts the app in a second process'),
    cure: 'flask run --no-reload',
  },
  {
    rule: 'scale-command',
    in: /\.(sh|bash)$|akefile$|justfile$|\.github\/workflows\//,
    line: /(?:--scale\s+|\bscale\s+count\s+|ps:scale\s+|kubectl\s+scale\b.*deploy(?:ment)?[/\s])(?:([\w-]+)\b.*?[=\s])??([2-9]|\d\d+)\b/g,
    why: ({ match: [, name = 'bot', count] }, { processes, isForWebhook, lease }) => {
      const meant = processes.find((it) => it.name === name && !/^(npm|make)$/.test(it.manager));
      if (lease || isForWebhook || !(meant?.isSuspect ?? isBotName(name))) return null;
      return `this starts ${count} copies of ${name}, and each of them polls${meant?.polls ? `: ${told(meant.polls)}` : ''}`;
    },
    cure: COUNT,
  },
];

/** What is wrong where such a command is run and polls; null where none is. */
function served({ processes, texts }: Facts, command: RegExp, what: string): string | null {
  const runs = processes.flatMap((it) => it.runs).filter(({ text }) => command.test(text));
  const polls = runs.map((it) => it.polls).find((it) => it && !isSingle(texts.get(it.file) ?? ''));
  return polls ? `${what}, and the app polls: ${told(polls)}` : null;
}

export function findLines(facts: Facts): Finding[] {
  const found = facts.files.flatMap(({ path, text }) => {
    const rules = LINES.filter((it) => it.in.test(path));
    const code = rules.length === 0 ? '' : withoutComments(path, text);
    const rows = code.split('\n');
    return rules.flatMap(({ rule, line: pattern, why, cure }) =>
      [...code.matchAll(pattern)].flatMap((match) => {
        const line = lineAt(code, match.index);
        const given = argumentsAt(code, match.index + match[0].length);
        const reason = why({ file: path, line, match, given, rows }, facts);
        return reason === null ? [] : [{ rule, file: path, line, why: reason, cure }];
      }),
    );
  });
  return [...found, ...setWebhooks(facts)];
}

/** A program that takes its updates one way or the other, by a setting, is as it should be. */
const CHOICE = /webhook|polling|mode|\benv|prod|stage|domain|url|host|heroku|render|railway|fly|port/i;

function setWebhooks({ polls: [polls], webhooks, files }: Facts): Finding[] {
  const code = files.flatMap(({ path, text }) =>
    polls && CODE.test(path) ? [{ path, rows: withoutComments(path, text).split('\n') }] : [],
  );
  return webhooks.flatMap(({ file, line, what }) => {
    // Serving a webhook disturbs nobody; setting one does.
    const serves = what === 'webhookCallback' || (/^start_?webhook$/i.test(what) && file !== polls?.file);
    const rows = code.find(({ path }) => path === file)?.rows;
    if (
      !polls ||
      serves ||
      !rows ||
      isChosen(
        rows,
        line,
        code.map((it) => it.rows),
      )
    )
      return [];
    return {
      rule: 'sets-webhook',
      file,
      line,
      why: `${what}: ${HOOK}: ${told(polls)}`,
      cure: 'take the call out, or the polling; singlepoll start clears the webhook that is set now',
    };
  });
}

const DEFINES =
  /^\s*(?:export\s+)?(?:async\s+)?(?:(?:def|function)\s+(\w+)|const\s+(\w+)\s*=\s*(?:async\s*)?\()/;

/** Under a condition, or in a function that is only called under one: `async def run_by_webhook(): …`. */
function isChosen(rows: readonly string[], line: number, all: readonly (readonly string[])[]): boolean {
  if (conditionsAround(rows, line).some((it) => CHOICE.test(it))) return true;
  const defined = DEFINES.exec(rows.slice(0, line - 1).findLast((row) => DEFINES.test(row)) ?? '');
  const name = RegExp(`\\b${defined?.[1] ?? defined?.[2]}\\b`);
  const uses = all.flatMap((others) =>
    others.flatMap((row, index) => {
      const isUse = name.test(row) && !DEFINES.test(row) && !/^\s*(from|import|export \{)/.test(row);
      return isUse
        ? [[/\bif\b.*\belse\b|\?/.test(row) ? row : '', ...conditionsAround(others, index + 1)]]
        : [];
    }),
  );
  return defined !== null && uses.length > 0 && uses.every((around) => around.some((it) => CHOICE.test(it)));
}
