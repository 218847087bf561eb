/** What makes a 409 or loses updates: settings, commands and lines of code as a table; beside it processes that poll side by side. */
import { conditionsOf, type Evidence, minds, told } from './code.ts';
import { at, environmentOf, stepsOf } from './documents.ts';
import { type Finding, folderOf, isKind, lineAt, matchesIn } from './files.ts';
import type { Facts, Process } from './processes.ts';
import { findTokens } from './tokens.ts';

/**
 * Rule, where it looks, what is wrong, and for text what must poll besides and what its conditions must not hold; then a line for why and
 * one for the cure. Where: the manager of a process that polls, a `command` and its `watcher`, a `webhook` that is set, or a kind of file.
 *
 * Of a process what is wrong is a path from it, or with `>` in front from the document (`..` is one step up, `*` the text of all files),
 * and what must hold there: `many` is a number above 1, `~` a pattern that it has, `!` one that it has not. The first path is the place that
 * is told; what follows must hold, too.
 *
 * Of text it is a pattern; `{1}` … are its groups. What must poll is the project (`poll`), this file as it is run or imported (`run`, `import`),
 * what a command scales (`named`), or a command of this pattern; `-` is nothing. The last column must not be in the conditions around
 * the line, nor in those around the calls of its function. A `command` polls itself; `{rest}` is it without the second group.
 */
const RULES = String.raw`
compose-replicas   compose  deploy>replicas many
compose-replicas   compose  scale many
compose-replicas   compose  deploy>mode ~^global
  every node of the swarm runs a copy of {name}, which polls
  mode: replicated, replicas: 1
compose-replicas   compose  deploy>update_config>order ~^start-first
  at an update the new copy of {name} polls while the old one still does
  order: stop-first
kubernetes-copies  kubernetes  >spec>replicas many
kubernetes-copies  kubernetes  >spec>strategy>type !^Recreate >kind ~^(Deployment|Rollout) >spec>replicas !^0
  unless its strategy is Recreate, the new pod of {name} polls at a rollout while the old one still does
  strategy: {type: Recreate}   ({lease})
kubernetes-copies  kubernetes  >kind ~^DaemonSet
  every node runs a copy of {name}, which polls
  kind: Deployment with replicas: 1   ({lease})
kubernetes-copies  kubernetes  >spec>schedule ~. >spec>concurrencyPolicy !^(Forbid|Replace)
  each run of the CronJob {name} polls, beside the one before
  a Deployment, or concurrencyPolicy: Replace
kubernetes-copies  kubernetes  >spec>template>metadata>annotations>autoscaling.knative.dev/maxScale !^1$ >apiVersion ~^serving\.knative
  {name} is scaled by its requests, and each copy of it polls
  autoscaling.knative.dev/maxScale: "1"
kubernetes-copies  autoscaler  >spec>maxReplicas many
  {name} polls and is scaled up to {value} pods
  kubectl delete -f {file}, replicas: 1   ({lease})
kubernetes-copies  helm  >replicaCount many
kubernetes-copies  helm  >autoscaling>enabled ~true >autoscaling>maxReplicas !^1$
  {name} polls and is scaled up to many pods
  autoscaling: {enabled: false}
fly-count  fly  >deploy>strategy ~^(bluegreen|canary)
  a {value} deploy runs the new machine beside the old one, and both poll
  strategy = "rolling"
fly-count  fly  >http_service>min_machines_running many
  {value} machines run at least, and each of them polls
  min_machines_running = 1, fly scale count 1
fly-count  fly  . ~. * !--ha[=\s]false|scale\s+count\s+([\w-]+=)?1\b|max_machines_running\s*=\s*1\b >http_service>min_machines_running !^([2-9]|\d\d)
  no count is said: a first deploy of {name} makes a second machine beside the one that polls
  fly scale count 1   (and fly deploy --ha=false; a comment with it here tells the next reader)
autoscaled  appengine  >runtime ~. >manual_scaling>instances !^1$ >basic_scaling>max_instances !^1$ >automatic_scaling>max_instances !^1$
  App Engine starts as many instances as there are requests, and each of them polls
  manual_scaling: {instances: 1}
autoscaled  render  numInstances many
autoscaled  render  scaling>maxInstances many
autoscaled  railway  numReplicas many
autoscaled  railway  overlapSeconds ~^[1-9]
  at a deploy the old copy polls on for {value} s beside the new one
  overlapSeconds: 0
autoscaled  formation  quantity many
autoscaled  digitalocean  instance_count many
cron-starts  cron  name !^@ command !\bflock\b|\bpgrep\b|singlepoll
  cron starts another poller each time ({value}), whether or not the last one runs
  @reboot singlepoll start -- {command}
cron-starts  workflow  run ~. >concurrency !. ..>..>concurrency !.
  every run of this workflow polls, and runs overlap
  concurrency: {group: bot, cancel-in-progress: true}
supervisord-numprocs  supervisord  numprocs many
pm2-instances  pm2  instances ~max|cpus|arallel|^-|(?<![\d.])(0|[2-9]|\d\d+)\b
  pm2 runs several instances ({value}) of {name}, and each of them polls
  instances: 1, exec_mode: 'fork'
pm2-instances  pm2  exec_mode ~^cluster instances !max|cpus|arallel|^-|(?<![\d.])(0|[2-9]|\d\d+)\b
  in cluster mode 'pm2 reload' starts the new {name} before it stops the old one, and both poll
  exec_mode: 'fork'
drops-pending    code      /(?<!\?[\s({]*)\b(drop_?pending(?:_?updates)?|skip_?(?:pending|updates))\b["']?\s*[=:]\s*(?:true|1)\b/  poll  \b(args|argv|flag|debug|dev|drop|reset|clean)
  {1}: every start throws away the messages that came in meanwhile, also after a crash or a take-over
  without {1}; where it is wanted once: singlepoll start --drop-pending
negative-offset  code|script  /(?<![\w.])["']?offset["']?\s*[=:]\s*-\s*\d+(?:(?<=get_?updates(?:.*\n){0,5}.*)|(?=(?:.*\n){0,5}.*get_?updates))/
  a negative offset forgets all earlier updates, and confirms them for whoever polls besides
  offset = the last update_id + 1
script-polls     script    /\b(?:curl|wget|https?|xh)\b.{0,400}\/getUpdates\b/
  this getUpdates is a poller, too: it takes the poll from the bot, which gets a 409
  ask getMe instead, or singlepoll status
script-polls     script    /\b(?:curl|wget|https?|xh)\b.{0,400}\/setWebhook\b(?!\S*[?&]url=(?:["'&\s]|$))/  poll
  setWebhook: as long as a webhook is set, every getUpdates is answered with 409, and this project polls
  take the line out
sets-webhook     webhook   /^(?!webhookCallback|start_?webhook)(.*)/  poll  webhook|polling|mode|\benv|prod|stage|domain|url|host|heroku|render|railway|fly|port
  {1}: as long as a webhook is set, every getUpdates is answered with 409, and this project polls
  take the call out, or the polling; singlepoll start clears the webhook that is set now
scale-command    deploy    /(?:--scale\s+|\bscale\s+count\s+|ps:scale\s+|kubectl\s+scale\b.{0,200}deploy(?:ment)?[/\s])(?:([\w-]+)\b.{0,100}?[=\s])??([2-9]|\d\d+)\b/  named
  this starts {2} copies of {1}, and each of them polls
  start 1, or let one copy poll and the others stand by: singlepoll start --lease
server-workers   gunicorn  /^workers\s*=\s*(?!.*(?:getenv|environ\.get)\s*\([^,()]+,\s*["']?1\b)(.*(?:cpu_count|nproc|\*).*|.*\b(?:[2-9]|\d\d+)\b.*)$/  ^gunicorn(?!.*\s(--workers|-w))
  gunicorn runs several workers ({1}), and each of them polls
  workers = 1
server-workers   setting|script  /\bWEB_CONCURRENCY["']?\s*[=:\s]\s*["']?([2-9]|\d\d+)\b/  ^(gunicorn|uvicorn)(?!.*\s(--workers|-w))
  the server runs {1} workers, and each of them polls
  WEB_CONCURRENCY=1
reloader         setting|script  /\bFLASK_(?:DEBUG|ENV)["']?\s*[=:\s]\s*["']?(?:1|true|on|development)\b/  ^flask(?!.*\s--no-reload)
  Flask's debug mode starts the app in a second process, and again at every change of a file; the app polls
  flask run --no-reload
reloader         python    /\b\w*(?:app|server|socketio)\w*\.run\s*\((?!ARGSuse_reloader\s*=\s*False)ARGS\b(?:debug|use_reloader)\s*=\s*True/  run
  Flask's debug reloader runs this program twice, and both poll
  app.run(debug=True, use_reloader=False)
reloader         python    /\buvicorn\.run\s*\((?:\s*f?["']([\w.]+):)?ARGS\breload\s*=\s*True/  import  debug|dev|local
  uvicorn with reload starts the app anew at every change of a file, and the app polls
  uvicorn.run(app, reload=False)
reloader         python    /\buvicorn\.run\s*\((?:\s*f?["']([\w.]+):)?ARGS\bworkers\s*=\s*(?:[2-9]|\d\d|\S*(?:cpu_count|\*))/  import
  uvicorn runs several workers, and each of them polls
  uvicorn.run(app, workers=1)
server-workers  command  /^(gunicorn|uvicorn|hypercorn|granian|fastapi|uwsgi)(?!.* --preload).*?( (?:--workers|--processes|-w)[= ]?(\S*(?:nproc|cpu_count|\*)\S*|[2-9]|\d\d+))(?!\S)/
  {1} runs {3} workers, and each of them polls
  {rest} --workers 1
reloader  command  /^(gunicorn|uvicorn|hypercorn|granian|litestar) .*?( --reload(?:er)?)(?!\S)/
  {1} {2} starts the app in a second process, and again at every change of a file; the app polls
  {rest}
reloader  command  /^(flask)(?!.* --no-reload) .*?( --debug| --reload)/
  {1} {2} starts the app in a second process, and again at every change of a file; the app polls
  {rest} --no-reload
reloader  command  /^(fastapi)( dev)/
  fastapi dev starts the app in a second process, and again at every change of a file; the app polls
  fastapi run
reloader  command  /(runserver)(?!.* --noreload)/
  Django's runserver loads the apps in two processes, and one of them polls
  {rest} --noreload
pm2-instances  command  /^(pm2\S*) .*?( (?:-i|--instances)[= ]?(?!1(?!\S))(\S+))/
  pm2 runs several instances ({3}), and each of them polls
  {rest}
watcher  watcher  /(.+)/
  {1} starts the bot again at every change of a file, also while the one before still ends
  start the bot itself, without {1}; for development a second bot from @BotFather`
  .trim()
  .split(/\n(?! )/)
  .map((row) => {
    const [head = '', why = '{value} copies of {name} poll', cure = '{key}: 1   ({lease})'] =
      row.split('\n  ');
    const [rule = '', where = '', what = '', proof = '-', around = '(?!)'] = head.split(/ {2,}/);
    const [, source] = /^\/(.*)\/$/.exec(what) ?? [];
    return {
      ...{ rule, where: where.split('|'), proof, around: RegExp(around, 'i'), why, cure },
      pattern: source && RegExp(source.replaceAll('ARGS', '(?:[^()]|\\([^()]*\\))*'), 'gim'),
      tests: [...what.matchAll(/(\S+) (\S+)/g)].map(([, path = '', test = '']) => ({ path, test })),
    };
  });

/** Every finding, sorted by place; the same rule tells of one line once. */
export function findCauses(facts: Facts): Finding[] {
  const { files, processes, webhooks } = facts;
  const all = [
    ...processes.flatMap((it) => inSettings(it, facts)),
    ...twoPollers(facts),
    ...processes.flatMap(({ file, line, runs, isForDevelopment: note }) =>
      runs.flatMap(({ words, watcher, polls }) => [
        ...inText(facts, 'command', file, words.join(' '), { line, note, polls }),
        ...inText(facts, 'watcher', file, watcher ?? '', { line, note, polls }),
      ]),
    ),
    ...webhooks.flatMap(({ file, line, what }) => inText(facts, 'webhook', file, what, { line })),
    ...files.flatMap(({ path }) => inText(facts, path, path, facts.codeOf(path))),
    ...findTokens(facts),
  ];
  const keys = all.map(({ rule, file, line }) => `${rule} ${file} ${line}`);
  return all
    .filter((_, index) => keys.indexOf(keys[index]!) === index)
    .sort((a, b) => (a.file ?? '').localeCompare(b.file ?? '') || (a.line ?? 0) - (b.line ?? 0));
}

/** `{name}` and its like as what they are; what is not known stays. */
const fill = (words: string, values: Readonly<Record<string, unknown>>): string =>
  words.replace(/\{(\w+)\}/g, (whole, key: string) => String(values[key] ?? whole));

/** A number, also as text or as a variable's default: `${N:-3}`. */
const MANY = /^\s*(?:\$\{\w+:?-)?0*([2-9]|[1-9]\d+)\}?\s*$/;

function inSettings(process: Process, { files }: Facts): Finding[] {
  const { manager, file, name, command, document, path, polls, isSuspect } = process;
  const stepsTo = (steps: string) => stepsOf(steps, steps.startsWith('>') ? [] : path);
  const holds = ({ path: steps, test }: (typeof RULES)[number]['tests'][number]) => {
    const isAll = steps === '*';
    const value = isAll ? files.map(({ text }) => text).join('\n') : at(document.value, stepsTo(steps));
    const pattern = test === 'many' ? MANY : RegExp(test.slice(1));
    return pattern.test(String(value ?? '')) === !test.startsWith('!');
  };
  const rows = RULES.filter(({ where, tests }) => isSuspect && where.includes(manager) && tests.every(holds));
  const engine = /kubernetes|helm|autoscaler/.test(manager) ? ' k8s:' : '';
  const lease = `or let one copy poll and the others stand by: singlepoll start --lease${engine}`;
  const seen = polls ? ` (${polls.file}:${polls.line} polls: ${polls.what})` : '';
  return rows.map(({ rule, why, cure, tests }) => {
    const steps = stepsTo(tests[0]!.path);
    const values = { name, file, command, value: at(document.value, steps), key: steps.at(-1), lease };
    const line = document.lineOf(steps);
    return { rule, file, line, why: fill(why, values) + seen, cure: fill(cure, values) };
  });
}

type Known = { line?: number; note?: boolean; polls?: Evidence | null };

function inText(facts: Facts, place: string, file: string, text: string, known: Known = {}): Finding[] {
  const rows = RULES.filter(({ where }) => where.some((it) => it === place || isKind(it, place)));
  return rows.flatMap(({ rule, pattern, proof, around, why, cure }) =>
    (pattern ? matchesIn(text, pattern) : []).flatMap((match) => {
      const { line = lineAt(text, match.index), polls = proven(proof, file, match[1], facts) } = known;
      if (!polls && (proof !== '-' || known.polls === null)) return [];
      if (conditionsOf(facts.codeOf(file), line).some((it) => around.test(it))) return [];
      const ofPoller = facts.texts.get(polls?.file ?? '');
      if (polls && !/^(poll|named)$/.test(proof) && minds(`${text}${ofPoller}`, rule)) return [];
      const rest = text.replace(match[2] ?? '', '');
      const values = { rest, ...match.map((it) => it?.trim() ?? 'the bot') };
      const by = polls ? `: ${told(polls)}` : '';
      const note = proof.startsWith('^') ? isKind('development', file) : known.note === true;
      return { rule, file, line, note, why: fill(why, values) + by, cure: fill(cure, values) };
    }),
  );
}

function proven(proof: string, file: string, name: string | undefined, facts: Facts): Evidence | null {
  const { polls, processes, isForWebhook, lease } = facts;
  if (proof === 'poll') return polls[0] ?? null;
  if (proof === 'run') return facts.pollsOf(file, true);
  if (proof === 'import')
    return facts.pollsOf((name && facts.source(name, folderOf(file), 'python')) || file, false);
  if (proof === 'named') {
    const meant = processes.find((it) => it.name === name && !/^(npm|make)$/.test(it.manager));
    const isMeant = !lease && !isForWebhook && (meant?.isSuspect ?? isKind('bot', name ?? 'bot'));
    return isMeant ? (meant?.polls ?? polls[0] ?? null) : null;
  }
  const runs = processes.flatMap((it) => it.runs).filter(({ polls }) => polls !== null);
  return runs.find(({ words }) => RegExp(proof).test(words.join(' ')))?.polls ?? null;
}

const SIDE_BY_SIDE = /^(procfile|compose|fly|supervisord|render|heroku|digitalocean|kubernetes)$/;

function twoPollers(facts: Facts): Finding[] {
  const pollers = facts.processes.filter(
    ({ manager, name, command, polls, isSuspect }) =>
      SIDE_BY_SIDE.test(manager) && polls && isSuspect && command !== '' && name !== 'release',
  );
  return pollers.flatMap((process) => {
    const { file, line, name, polls } = process;
    const other = pollers.find((it) => it.file === file && botOf(it, facts) === botOf(process, facts))!;
    if (other.name === name) return [];
    const idle = /web|api|http/i.test(other.name) ? other.name : name;
    const why = `${other.name} and ${name} both poll: ${told(other.polls!)} and ${told(polls!)}`;
    const cure = `take the polling out of one of them: POLLING_ENABLED=0 for ${idle}, where the code looks at it`;
    return { rule: 'two-pollers', file, line, why, cure };
  });
}

/** What tells the bots of processes apart: env file, token and profiles of a service, and how the code names the token. */
function botOf({ value, runs }: Process, { reached, texts }: Facts): string {
  const tokens = environmentOf(value).match(/"[^"=]*TOKEN[^"]*"(?:[:,]"[^}]*|:"[^"]*")?/gi) ?? [];
  const names = runs
    .flatMap(({ target }) => (target === null ? [] : reached(target)))
    .flatMap((it) => texts.get(it)?.match(/\b[A-Z0-9_]*(?:BOT|TELEGRAM|TG_)[A-Z0-9_]*TOKEN\b/g) ?? []);
  const { env_file, profiles } = Object(value);
  return JSON.stringify([env_file, profiles, tokens.sort(), [...new Set(names)].sort()]);
}
