/** Lines of code and scripts that end somebody's polling, lose updates, or are a second poller themselves. */
import { conditionsAround, type Evidence, minds, told, withoutComments } from './code.ts';
import { fill, rowsOf } from './documents.ts';
import { type Finding, folderOf, isBotName, isForDevelopment, lineAt, matchesIn } from './files.ts';
import type { Facts } from './processes.ts';

/** What a rule looks at, by the file's path. `script`: what runs by itself; `setting`: where variables are set. */
export const KINDS: Readonly<Record<string, RegExp>> = {
  command: /^command$/,
  code: /\.(py|[cm]?[jt]sx?|go)$/,
  python: /\.py$/,
  gunicorn: /(^|\/)gunicorn[^/]*\.py$/,
  script: /\.(sh|bash|ya?ml|service|cron)$|ockerfile|akefile$|justfile$|crontab$|package\.json$/,
  setting:
    /(^|\/)\.?env(\.(?!example|sample)[^/]*)?$|\.env$|ockerfile|(compose[\w.-]*|render)\.ya?ml$|fly\.toml$/,
};

/**
 * Rule, where it looks, what it looks for, what must poll besides, why, cure; `{1}` … are groups of the pattern. What must poll is the
 * project (`poll`), this file as it is run or imported (`run`, `import`), or a command of this pattern; `-` is nothing. The lines around
 * must hold what is `near`; `unless` a condition around the line says so. A `command` polls itself: `{rest}` is it without the second
 * group; at its end stand what FLASK_DEBUG and WEB_CONCURRENCY are set to, and the watcher that starts it.
 */
const LINES = rowsOf(String.raw`
drops-pending    code      /\b(drop_?pending(?:_?updates)?|skip_?(?:pending|updates))\b["']?\s*[=:]\s*(?:true|1)\b/  poll  unless=\b(args|argv|flag|debug|dev|drop|reset|clean)
  {1}: every start throws away the messages that came in meanwhile, also after a crash or a take-over
  without {1}; where it is wanted once: singlepoll start --drop-pending
negative-offset  code      /(?<![\w.])["']?offset["']?\s*[=:]\s*-\s*\d+/  -  near=get_?updates
  a negative offset forgets all earlier updates, and confirms them for whoever polls besides
  offset = the last update_id + 1
negative-offset  script    /getUpdates\S*[?&\s"']offset["']?[=:]\s*-\d/
  a negative offset forgets all earlier updates, and confirms them for whoever polls besides
  offset = the last update_id + 1
script-polls     script    /\b(?:curl|wget|https?|xh)\b.{0,400}\/getUpdates\b/
  this getUpdates is a poller, too: it takes the poll from the bot, which gets a 409
  ask getMe instead, or singlepoll status
script-polls     script    /\b(?:curl|wget|https?|xh)\b.{0,400}\/setWebhook\b(?!\S*[?&]url=(?:["'&\s]|$))/  poll
  setWebhook: as long as a webhook is set, every getUpdates is answered with 409, and this project polls
  take the line out
server-workers   gunicorn  /^workers\s*=\s*(?!.*(?:getenv|environ\.get)\s*\([^,()]+,\s*["']?1\b)(.*(?:cpu_count|nproc|\*).*|.*\b(?:[2-9]|\d\d+)\b.*)$/  ^gunicorn(?!.*\s(--workers|-w))
  gunicorn runs several workers ({1}), and each of them polls
  workers = 1
server-workers   setting   /\bWEB_CONCURRENCY["']?\s*[=:\s]\s*["']?([2-9]|\d\d+)\b/  ^(gunicorn|uvicorn)(?!.*\s(--workers|-w))
  the server runs {1} workers, and each of them polls
  WEB_CONCURRENCY=1
reloader         setting   /\bFLASK_(?:DEBUG|ENV)["']?\s*[=:\s]\s*["']?(?:1|true|on|development)\b/  ^flask(?!.*\s--no-reload)
  Flask’s debug mode starts the app in a second process, and again at every change of a file; the app polls
  flask run --no-reload
reloader         python    /\b\w*(?:app|server|socketio)\w*\.run\s*\((?!ARGSuse_reloader\s*=\s*False)ARGS\b(?:debug|use_reloader)\s*=\s*True/  run
  Flask’s debug reloader runs this program twice, and both poll
  app.run(debug=True, use_reloader=False)
reloader         python    /\buvicorn\.run\s*\((?:\s*f?["']([\w.]+):)?ARGS\breload\s*=\s*True/  import  unless=debug|dev|local
  uvicorn with reload starts the app anew at every change of a file, and the app polls
  uvicorn.run(app, reload=False)
reloader         python    /\buvicorn\.run\s*\((?:\s*f?["']([\w.]+):)?ARGS\bworkers\s*=\s*(?:[2-9]|\d\d|\S*(?:cpu_count|\*))/  import
  uvicorn runs several workers, and each of them polls
  uvicorn.run(app, workers=1)
server-workers  command  /^(gunicorn|uvicorn|hypercorn|granian|fastapi|uwsgi)(?!.* --preload).*?( (?:--workers|--processes|-w)[= ]?(\S*(?:nproc|cpu_count|\*)\S*|[2-9]|\d\d+))(?!\S)/
  {1} runs {3} workers, and each of them polls
  {rest} --workers 1
server-workers  command  /^(gunicorn|uvicorn)(?!.* (?:--workers|-w)).*( WEB_CONCURRENCY=([2-9]|\d\d+))/
  {1} runs {3} workers, and each of them polls
  {rest} --workers 1
reloader  command  /^(gunicorn|uvicorn|hypercorn|granian|litestar) .*?( --reload(?:er)?)(?!\S)/
  {1} {2} starts the app in a second process, and again at every change of a file; the app polls
  {rest}
reloader  command  /^(flask)(?!.* --no-reload) .*?( --debug| --reload| FLASK_DEBUG=(?:1|true|on)| FLASK_ENV=dev\w*)/
  {1} {2} starts the app in a second process, and again at every change of a file; the app polls
  {rest} --no-reload
reloader  command  /^(fastapi)( dev)/
  fastapi dev starts the app in a second process, and again at every change of a file; the app polls
  fastapi run
reloader  command  /(runserver)(?!.* --noreload)/
  Django’s runserver loads the apps in two processes, and one of them polls
  {rest} --noreload
pm2-instances  command  /^(pm2\S*) .*?( (?:-i|--instances)[= ]?(?!1(?!\S))(\S+))/
  pm2 runs several instances ({3}), and each of them polls
  {rest}
watcher  command  /()( WATCHED_BY=(.*))/
  {3} starts the bot again at every change of a file, also while the one before still ends
  start the bot itself, without {3}; for development a second bot from @BotFather`).map(
  ({ columns: [rule = '', kind = '', pattern = '', proof = '-', more = ''], why, cure }) => {
    const source = pattern.slice(1, -1).replaceAll('ARGS', '(?:[^()]|\\([^()]*\\))*');
    const [, word, around = '^'] = /^(\w+)=(.*)/.exec(more) ?? [];
    return {
      rule,
      in: KINDS[kind]!,
      pattern: RegExp(source, 'gim'),
      proof,
      word,
      around: RegExp(around, 'i'),
      why,
      cure,
    };
  },
);

export function findLines(facts: Facts): Finding[] {
  const { files, processes, texts } = facts;
  const sources = files.map(({ path, text }) => ({
    ...{ kind: path, file: path, text, note: isForDevelopment(path) },
    ...{ line: null, polls: null, words: [] },
  }));
  const commands = processes.flatMap(({ file, line, runs, isForDevelopment: note }) =>
    runs.map(({ text, polls, words }) => ({ kind: 'command', file, text, note, line, polls, words })),
  );
  const found = [...commands, ...sources].flatMap(({ kind, file, text, note, words, ...place }) => {
    const rules = LINES.filter((it) => it.in.test(kind));
    const code = rules.length === 0 || kind === 'command' ? text : withoutComments(file, text);
    const rows = code.split('\n');
    return rules.flatMap(({ rule, pattern, proof, word, around, why, cure }) =>
      [...matchesIn(code, pattern)].flatMap((match) => {
        const line = place.line ?? lineAt(code, match.index);
        const near = rows.slice(Math.max(0, line - 6), line + 5).join('\n');
        const before = /.*\?[\s({]*$/.exec(code.slice(0, match.index).split('\n').at(-1)!)?.[0] ?? '';
        const isChosen =
          word === 'unless' && [before, ...conditionsAround(rows, line)].some((it) => around.test(it));
        const isElsewhere = word === 'near' && !around.test(near);
        const needsPoll = proof !== '-' || kind === 'command';
        const polls = place.polls ?? (proof === '-' ? null : proven(proof, file, match[1], facts));
        const both = `${code}${texts.get(polls?.file ?? '') ?? ''}`;
        if (isChosen || isElsewhere || (needsPoll && !polls)) return [];
        if (polls && proof !== 'poll' && minds(both, rule)) return [];
        const rest = words.join(' ').replace(match[2] ?? '', '');
        const values = { rest, ...match.map((it) => it?.trim()) };
        return {
          ...{ rule, file, line, note: note && (kind === 'command' || proof.startsWith('^')) },
          why: fill(why, values) + (polls ? `: ${told(polls)}` : ''),
          cure: fill(cure, values),
        };
      }),
    );
  });
  return [...found, ...setWebhooks(facts), ...scaled(facts)];
}

function proven(proof: string, file: string, module: string | undefined, facts: Facts): Evidence | null {
  const { code, polls, processes } = facts;
  if (proof === 'poll') return polls[0] ?? null;
  if (proof === 'run') return code.polls(file, 'run');
  if (proof === 'import')
    return code.polls((module && code.module(module, folderOf(file))) || file, 'import');
  const runs = processes.flatMap((it) => it.runs).filter(({ text }) => RegExp(proof).test(text));
  return runs.find((it) => it.polls !== null)?.polls ?? null;
}

const SCALE =
  /(?:--scale\s+|\bscale\s+count\s+|ps:scale\s+|kubectl\s+scale\b.{0,200}deploy(?:ment)?[/\s])(?:([\w-]+)\b.{0,100}?[=\s])??([2-9]|\d\d+)\b/g;

function scaled({ files, processes, isForWebhook, lease }: Facts): Finding[] {
  const scripts = files.filter(({ path }) =>
    /\.(sh|bash)$|akefile$|justfile$|\.github\/workflows\//.test(path),
  );
  return scripts.flatMap(({ path: file, text }) => {
    const code = withoutComments(file, text);
    return [...matchesIn(code, SCALE)].flatMap(({ 1: name = 'bot', 2: count, index }) => {
      const meant = processes.find((it) => it.name === name && !/^(npm|make)$/.test(it.manager));
      if (lease || isForWebhook || !(meant?.isSuspect ?? isBotName(name))) return [];
      const why = `this starts ${count} copies of ${name}, and each of them polls${meant?.polls ? `: ${told(meant.polls)}` : ''}`;
      const cure = 'start 1, or let one copy poll and the others stand by: singlepoll start --lease';
      return { rule: 'scale-command', file, line: lineAt(code, index), why, cure };
    });
  });
}

/** A program that takes its updates one way or the other, by a setting, is as it should be. */
const CHOICE = /webhook|polling|mode|\benv|prod|stage|domain|url|host|heroku|render|railway|fly|port/i;
const DEFINES =
  /^\s*(?:export\s+)?(?:async\s+)?(?:(?:def|function)\s+(\w+)|const\s+(\w+)\s*=\s*(?:async\s*)?\()/;

function setWebhooks({ polls: [polls], webhooks, texts }: Facts): Finding[] {
  const rowsOf = (file: string) => withoutComments(file, texts.get(file) ?? '').split('\n');
  const isChoice = (rows: readonly string[], line: number) =>
    conditionsAround(rows, line).some((it) => CHOICE.test(it));
  return webhooks.flatMap(({ file, line, what }) => {
    // Serving a webhook disturbs nobody; setting one does.
    const serves = what === 'webhookCallback' || (/^start_?webhook$/i.test(what) && file !== polls?.file);
    const rows = rowsOf(file);
    // In a function that is only called under a condition: `async def run_by_webhook(): …`.
    const defined = DEFINES.exec(rows.slice(0, line - 1).findLast((row) => DEFINES.test(row)) ?? '');
    const name = RegExp(`\\b${defined?.[1] ?? defined?.[2]}\\b`);
    const isCalledByChoice =
      defined && rows.some((row, index) => name.test(row) && isChoice(rows, index + 1));
    if (!polls || serves || isChoice(rows, line) || isCalledByChoice) return [];
    const why = `${what}: as long as a webhook is set, every getUpdates is answered with 409, and this project polls: ${told(polls)}`;
    const cure = 'take the call out, or the polling; singlepoll start clears the webhook that is set now';
    return { rule: 'sets-webhook', file, line, why, cure };
  });
}
