/** Lines of code and scripts that end somebody's polling, lose updates, or are a second poller themselves. */
import { conditionsAround, type Evidence, minds, told } from './code.ts';
import { fill, rowsOf } from './documents.ts';
import { type Finding, folderOf, isBotName, isForDevelopment, isKind, lineAt, matchesIn } from './files.ts';
import type { Facts } from './processes.ts';

/**
 * Rule, where it looks, what it looks for, what must poll besides, why, cure; `{1}` … are groups of the pattern. What must poll is the
 * project (`poll`), this file as it is run or imported (`run`, `import`), what a command scales (`named`), or a command of this pattern;
 * `-` is nothing. The lines around must hold what is `near`; none of the conditions around may hold what stands behind `unless`, nor
 * those around the calls of the function what stands behind `chosen`. A `command` polls itself: `{rest}` is it without the second group;
 * at its end stand what FLASK_DEBUG and WEB_CONCURRENCY are set to, and the watcher that starts it.
 */
const LINES = rowsOf(String.raw`
drops-pending    code      /\b(drop_?pending(?:_?updates)?|skip_?(?:pending|updates))\b["']?\s*[=:]\s*(?:true|1)\b/  poll  unless=\b(args|argv|flag|debug|dev|drop|reset|clean)
  {1}: every start throws away the messages that came in meanwhile, also after a crash or a take-over
  without {1}; where it is wanted once: singlepoll start --drop-pending
negative-offset  code|script  /(?<![\w.])["']?offset["']?\s*[=:]\s*-\s*\d+/  -  near=get_?updates
  a negative offset forgets all earlier updates, and confirms them for whoever polls besides
  offset = the last update_id + 1
script-polls     script    /\b(?:curl|wget|https?|xh)\b.{0,400}\/getUpdates\b/
  this getUpdates is a poller, too: it takes the poll from the bot, which gets a 409
  ask getMe instead, or singlepoll status
script-polls     script    /\b(?:curl|wget|https?|xh)\b.{0,400}\/setWebhook\b(?!\S*[?&]url=(?:["'&\s]|$))/  poll
  setWebhook: as long as a webhook is set, every getUpdates is answered with 409, and this project polls
  take the line out
sets-webhook     webhook   /^(?!webhookCallback|start_?webhook)(.*)/  poll  chosen=webhook|polling|mode|\benv|prod|stage|domain|url|host|heroku|render|railway|fly|port
  {1}: as long as a webhook is set, every getUpdates is answered with 409, and this project polls
  take the call out, or the polling; singlepoll start clears the webhook that is set now
scale-command    deploy    /(?:--scale\s+|\bscale\s+count\s+|ps:scale\s+|kubectl\s+scale\b.{0,200}deploy(?:ment)?[/\s])(?:([\w-]+)\b.{0,100}?[=\s])??([2-9]|\d\d+)\b/  named
  this starts {2} copies of {1}, and each of them polls
  start 1, or let one copy poll and the others stand by: singlepoll start --lease
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
server-workers  command  /^(gunicorn|uvicorn|hypercorn|granian|fastapi|uwsgi)(?!.* --preload).*?( (?:--workers|--processes|-w|(?<! (?:--workers|-w).*)WEB_CONCURRENCY)[= ]?(\S*(?:nproc|cpu_count|\*)\S*|[2-9]|\d\d+))(?!\S)/
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
      kinds: kind.split('|'),
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
  const { code, files, processes, texts, webhooks } = facts;
  const unknown = { note: false, polls: null, words: [], text: null, line: null };
  const commands = processes.flatMap(({ file, line, runs, isForDevelopment: note }) =>
    runs.map(({ text, polls, words }) => ({ kind: 'command', file, text, note, line, polls, words })),
  );
  const calls = webhooks.map((it) => ({ ...unknown, ...it, kind: 'webhook', text: it.what }));
  const sources = files.map(({ path: file }) => ({
    ...unknown,
    kind: file,
    file,
    note: isForDevelopment(file),
  }));
  return [...commands, ...calls, ...sources].flatMap(({ kind, file, note, words, ...place }) =>
    LINES.filter(({ kinds }) =>
      kinds.some((it) => it === kind || (place.text === null && isKind(it, file))),
    ).flatMap(({ rule, pattern, proof, word, around, why, cure }) => {
      const text = place.text ?? code.of(file);
      return matchesIn(text, pattern).flatMap((match) => {
        const line = place.line ?? lineAt(text, match.index);
        const rows = code.of(file).split('\n');
        const isAround = (lines: readonly string[]) => lines.some((it) => around.test(it));
        if (word === 'near' && !isAround(rows.slice(Math.max(0, line - 6), line + 5))) return [];
        const isByTernary = /\?[\s({]*$/.test(text.slice(0, match.index));
        if (word === 'unless' && (isByTernary || isAround(conditionsAround(rows, line)))) return [];
        if (word === 'chosen' && isAround(conditionsOf(rows, line))) return [];
        const polls = kind === 'command' ? place.polls : proven(proof, file, match[1], facts);
        if (!polls && (proof !== '-' || kind === 'command')) return [];
        const ofPoller = texts.get(polls?.file ?? '');
        if (polls && !/^(poll|named)$/.test(proof) && minds(`${text}${ofPoller}`, rule)) return [];
        const rest = words.join(' ').replace(match[2] ?? '', '');
        const values = { rest, ...match.map((it) => it?.trim() ?? 'the bot') };
        const by = polls ? `: ${told(polls)}` : '';
        const isNote = note && (kind === 'command' || proof.startsWith('^'));
        return { rule, file, line, note: isNote, why: fill(why, values) + by, cure: fill(cure, values) };
      });
    }),
  );
}

function proven(proof: string, file: string, name: string | undefined, facts: Facts): Evidence | null {
  const { code, polls, processes, isForWebhook, lease } = facts;
  if (proof === 'poll') return polls[0] ?? null;
  if (proof === 'run') return code.polls(file, 'run');
  if (proof === 'import')
    return code.polls((name && code.source(name, folderOf(file), 'python')) || file, 'import');
  if (proof === 'named') {
    const meant = processes.find((it) => it.name === name && !/^(npm|make)$/.test(it.manager));
    const isMeant = !lease && !isForWebhook && (meant?.isSuspect ?? isBotName(name ?? 'bot'));
    return isMeant ? (meant?.polls ?? polls[0] ?? null) : null;
  }
  const runs = processes.flatMap((it) => it.runs).filter(({ text }) => RegExp(proof).test(text));
  return runs.find((it) => it.polls !== null)?.polls ?? null;
}

const DEFINES = /^\s*(?:export\s+)?(?:async\s+)?(?:def|function|const)\s+(\w+)\s*(?:=\s*(?:async\s*)?)?\(/;

/** The conditions that a line stands under, and those of the calls of the function that it stands in: `async def run_by_webhook(): …`. */
function conditionsOf(rows: readonly string[], line: number): string[] {
  const name = DEFINES.exec(rows.slice(0, line).findLast((row) => DEFINES.test(row)) ?? '')?.[1] ?? '(?!)';
  const calls = rows.flatMap((row, index) => (RegExp(`\\b${name}\\b`).test(row) ? [index + 1] : []));
  return [line, ...calls].flatMap((it) => conditionsAround(rows, it));
}
