/**
 * What makes a 409: settings that run several copies, as a table of which each row says where to look, what is wrong, why, and the
 * cure; processes that poll side by side; and the lines and tokens of the other files.
 */
import { told } from './code.ts';
import { at, environmentOf, fill, rowsOf, stepsOf, table, whole } from './documents.ts';
import { type Finding, isKind } from './files.ts';
import { findLines } from './lines.ts';
import type { Facts, Process } from './processes.ts';
import { findTokens } from './tokens.ts';

/** Every finding, sorted by place; the same rule tells of one line once. */
export function findCauses(facts: Facts): Finding[] {
  const all = [findSettings(facts), twoPollers(facts), findLines(facts), findTokens(facts)].flat();
  const keys = all.map(({ rule, file, line }) => `${rule} ${file} ${line}`);
  return all
    .filter((_, index) => keys.indexOf(keys[index]!) === index)
    .sort((a, b) => (a.file ?? '').localeCompare(b.file ?? '') || (a.line ?? 0) - (b.line ?? 0));
}

/**
 * Settings of processes that poll: rule, manager, what is wrong, why, cure. What is wrong is a path from the process, or with `>` in
 * front from the document (`..` is one step up, `*` is the text of all scripts), and what must hold there: `many` is a number above 1,
 * `~` a pattern that it has, `!` one that it has not. The first path is the place that is told; what follows must hold, too.
 */
const SETTINGS = rowsOf(String.raw`
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
  exec_mode: 'fork'`).map(({ columns: [rule = '', manager, what = ''], why, cure }) => {
  const tests = [...what.matchAll(/(\S+) (\S+)/g)].map(([, path = '', test = '']) => ({ path, test }));
  const copies = { why: '{value} copies of {name} poll', cure: '{key}: 1   ({lease})' };
  return { rule, manager, tests, why: why || copies.why, cure: cure || copies.cure };
});
const LEASE = 'or let one copy poll and the others stand by: singlepoll start --lease';

function findSettings(facts: Facts): Finding[] {
  const scripts = facts.files.filter(({ path }) => isKind('script', path) || path.endsWith('.toml'));
  const allText = scripts.map(({ text }) => text).join('\n');
  return facts.processes.flatMap(({ manager, file, name, command, document, path, polls, isSuspect }) => {
    const stepsTo = (steps: string) => stepsOf(steps, steps.startsWith('>') ? [] : path);
    const holds = ({ path: steps, test }: { path: string; test: string }) => {
      const value = steps === '*' ? allText : at(document.value, stepsTo(steps));
      if (test === 'many') return (whole(value) ?? 1) > 1;
      return RegExp(test.slice(1)).test(String(value ?? '')) === test.startsWith('~');
    };
    const rows = SETTINGS.filter((row) => isSuspect && row.manager === manager && row.tests.every(holds));
    const lease = /kubernetes|helm|autoscaler/.test(manager) ? `${LEASE} k8s:` : LEASE;
    const seen = polls ? ` (${polls.file}:${polls.line} polls: ${polls.what})` : '';
    return rows.map(({ rule, why, cure, tests }) => {
      const steps = stepsTo(tests[0]!.path);
      const [value, key] = [String(at(document.value, steps)), String(steps.at(-1))];
      const values = { name, file, command, value, key, lease };
      const line = document.lineOf(steps);
      return { rule, file, line, why: fill(why, values) + seen, cure: fill(cure, values) };
    });
  });
}

/** Where processes of one file run side by side. */
const SIDE_BY_SIDE = /^(procfile|compose|fly|supervisord|render|heroku|digitalocean|kubernetes)$/;

function twoPollers(facts: Facts): Finding[] {
  const pollers = facts.processes.filter(
    ({ manager, name, command, polls, runs }) =>
      SIDE_BY_SIDE.test(manager) &&
      ![polls, command, name].some((it) => it === null || it === '' || it === 'release') &&
      !runs.some((it) => it.isLeased),
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
function botOf({ document, path, runs }: Process, { code, texts }: Facts): string {
  const service = table(at(document.value, path));
  const tokens = environmentOf(service).match(/"[^"=]*TOKEN[^"]*"(?:[:,]"[^}]*|:"[^"]*")?/gi) ?? [];
  const names = runs
    .flatMap(({ target }) => (target === null ? [] : code.reached(target)))
    .flatMap((it) => texts.get(it)?.match(/\b[A-Z0-9_]*(?:BOT|TELEGRAM|TG_)[A-Z0-9_]*TOKEN\b/g) ?? []);
  return JSON.stringify([service.env_file, tokens.sort(), service.profiles, [...new Set(names)].sort()]);
}
