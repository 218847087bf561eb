/** Containers and platforms that run more than one copy, or start the new one before the old one has ended. */
import type { Facts } from '../project/facts.ts';
import { baseOf, folderOf, isAside, lineAt, type ProjectFile } from '../project/files.ts';
import { isCompose } from '../project/kinds.ts';
import { type Launch, workload } from '../project/launches.ts';
import { at, list, readToml, readYaml, type Structured, table, text, whole } from '../project/structured.ts';
import { containerProcess, type Process, polls, seen, sharesLease } from './bot-process.ts';
import type { Finding, Rule } from './finding.ts';

type Said = Omit<Finding, 'rule'>;

const LEASE = 'or let one copy poll and the others stand by: singlepoll start --lease';

function yamlFiles(
  facts: Facts,
  matches: (path: string) => boolean,
): { file: ProjectFile; doc: Structured }[] {
  return facts.project.files.flatMap((file) =>
    file.text === null || isAside(file.path) || !matches(file.path)
      ? []
      : readYaml(file.text).map((doc) => ({ file, doc })),
  );
}

const launchOf = (facts: Facts, file: string, name: string): Launch | null =>
  facts.launches.find((launch) => launch.file === file && launch.name === name) ?? null;

const compose: Rule = {
  id: 'compose-replicas',
  about: 'compose: replicas, scale, mode: global, order: start-first',
  check: (facts) =>
    yamlFiles(facts, isCompose).flatMap(({ file, doc }) =>
      Object.entries(table(at(doc.value, ['services']))).flatMap(([name, service]) => {
        const process = containerProcess(facts, name, service, launchOf(facts, file.path, name));
        const verdict = polls(facts, process);
        if (verdict === null || sharesLease(facts, process)) return [];
        const said = (path: readonly string[], why: string, cure: string): Said => ({
          file: file.path,
          line: doc.lineOf(['services', name, ...path]),
          why,
          cure,
        });
        const found: Said[] = [];
        const value = (path: readonly string[]) => at(service, path);
        const replicas = whole(value(['deploy', 'replicas']));
        const scale = whole(value(['scale']));
        if (replicas !== null && replicas > 1) {
          found.push(
            said(
              ['deploy', 'replicas'],
              `${replicas} copies of ${name} poll${seen(verdict)}`,
              `replicas: 1   (${LEASE})`,
            ),
          );
        }
        if (scale !== null && scale > 1) {
          found.push(
            said(['scale'], `${scale} copies of ${name} poll${seen(verdict)}`, `scale: 1   (${LEASE})`),
          );
        }
        if (/^global/.test(text(value(['deploy', 'mode'])) ?? '')) {
          found.push(
            said(
              ['deploy', 'mode'],
              `every node of the swarm runs a copy of ${name}, which polls${seen(verdict)}`,
              'mode: replicated, replicas: 1',
            ),
          );
        }
        if (value(['deploy', 'update_config', 'order']) === 'start-first') {
          found.push(
            said(
              ['deploy', 'update_config', 'order'],
              `at an update the new copy of ${name} polls while the old one still does${seen(verdict)}`,
              'order: stop-first',
            ),
          );
        }
        return found;
      }),
    ),
};

interface Workload {
  readonly file: string;
  readonly doc: Structured;
  readonly kind: string;
  readonly name: string;
  readonly process: Process;
  readonly seen: string;
}

const isManifest = (path: string): boolean =>
  /\.ya?ml$/.test(path) && !isCompose(path) && !path.includes('.github/');

function workloads(facts: Facts): Workload[] {
  return yamlFiles(facts, isManifest).flatMap(({ file, doc }) => {
    const { kind, name, containers } = workload(doc);
    if (kind === null) return [];
    for (const container of containers) {
      const called = `${name} ${text(container.name) ?? ''}`;
      const own = facts.launches.find(
        (launch) => launch.file === file.path && launch.manager === 'kubernetes' && launch.name === name,
      );
      const process = containerProcess(
        facts,
        called,
        container,
        container.command || container.args ? (own ?? null) : null,
      );
      const verdict = polls(facts, process);
      if (verdict && !sharesLease(facts, process)) {
        return [{ file: file.path, doc, kind, name, process, seen: seen(verdict) }];
      }
    }
    return [];
  });
}

const kubernetes: Rule = {
  id: 'kubernetes-copies',
  about: 'Kubernetes: replicas above 1, RollingUpdate, DaemonSet, a HorizontalPodAutoscaler, without a lease',
  check: (facts) => {
    const found = workloads(facts);
    return [...found.flatMap(judgeWorkload), ...autoscalers(facts, found), ...helmValues(facts)];
  },
};

function judgeWorkload({ file, doc, kind, name, seen: where }: Workload): Said[] {
  const said = (path: readonly string[], why: string, cure: string): Said => ({
    file,
    line: doc.lineOf(path),
    why,
    cure,
  });
  if (kind === 'Service') return cloudRun(doc, said, name, where);
  if (kind === 'DaemonSet') {
    return [
      said(
        ['kind'],
        `every node runs a copy of ${name}, which polls${where}`,
        `kind: Deployment with replicas: 1   (${LEASE} k8s:)`,
      ),
    ];
  }
  if (kind === 'CronJob') {
    const policy = at(doc.value, ['spec', 'concurrencyPolicy']);
    if (policy === 'Forbid' || policy === 'Replace') return [];
    return [
      said(
        ['spec', 'schedule'],
        `each run of the CronJob ${name} polls, beside the one before${where}`,
        'a Deployment, or concurrencyPolicy: Replace',
      ),
    ];
  }
  if (kind === 'Job') return [];
  const found: Said[] = [];
  const replicas = whole(at(doc.value, ['spec', 'replicas']));
  if (replicas !== null && replicas > 1) {
    found.push(
      said(['spec', 'replicas'], `${replicas} pods of ${name} poll${where}`, `replicas: 1   (${LEASE} k8s:)`),
    );
  }
  const strategy = at(doc.value, ['spec', 'strategy', 'type']);
  if (/^(Deployment|Rollout)$/.test(kind) && strategy !== 'Recreate' && replicas !== 0) {
    const path = strategy === undefined ? ['spec'] : ['spec', 'strategy', 'type'];
    found.push(
      said(
        path,
        `${strategy === undefined ? 'without a strategy it is RollingUpdate: ' : ''}at a rollout the new pod of ${name} polls while the old one still does${where}`,
        `strategy: {type: Recreate}   (${LEASE} k8s:)`,
      ),
    );
  }
  return found;
}

function cloudRun(
  doc: Structured,
  said: (path: readonly string[], why: string, cure: string) => Said,
  name: string,
  where: string,
): Said[] {
  const api = text(at(doc.value, ['apiVersion'])) ?? '';
  if (!api.startsWith('serving.knative.dev')) return [];
  const path = ['spec', 'template', 'metadata', 'annotations', 'autoscaling.knative.dev/maxScale'];
  const most = whole(at(doc.value, path));
  if (most === 1) return [];
  return [
    said(
      path,
      `${name} is scaled by its requests, ${most === null ? 'without a limit' : `up to ${most} copies`}; each of them polls${where}`,
      'autoscaling.knative.dev/maxScale: "1"',
    ),
  ];
}

function autoscalers(facts: Facts, found: readonly Workload[]): Said[] {
  return yamlFiles(facts, isManifest).flatMap(({ file, doc }) => {
    if (at(doc.value, ['kind']) !== 'HorizontalPodAutoscaler') return [];
    const target = text(at(doc.value, ['spec', 'scaleTargetRef', 'name']));
    const most = whole(at(doc.value, ['spec', 'maxReplicas']));
    if (most === null || most < 2 || !found.some(({ name }) => name === target)) return [];
    return [
      {
        file: file.path,
        line: doc.lineOf(['spec', 'maxReplicas']),
        why: `${target} polls and is scaled up to ${most} pods`,
        cure: `kubectl delete -f ${file.path}, replicas: 1   (${LEASE} k8s:)`,
      },
    ];
  });
}

/** A chart's templates are no YAML; its values are. */
function helmValues(facts: Facts): Said[] {
  return yamlFiles(facts, (path) => /(^|\/)values(\.[\w-]+)?\.ya?ml$/.test(path)).flatMap(({ file, doc }) => {
    const chart = facts.project.files.find(
      ({ path }) => path === [folderOf(file.path), 'Chart.yaml'].filter(Boolean).join('/'),
    );
    if (!chart?.text) return [];
    const name = text(at(readYaml(chart.text)[0]?.value, ['name'])) ?? '';
    const process = {
      name,
      image: text(at(doc.value, ['image', 'repository'])),
      launch: null,
      variables: Object.keys(table(table(doc.value).env)),
    };
    const verdict = polls(facts, process);
    if (verdict === null || sharesLease(facts, process)) return [];
    const count = whole(at(doc.value, ['replicaCount']));
    const found: Said[] = [];
    if (count !== null && count > 1) {
      found.push({
        file: file.path,
        line: doc.lineOf(['replicaCount']),
        why: `${count} pods of ${name} poll`,
        cure: `replicaCount: 1   (${LEASE} k8s:)`,
      });
    }
    const most = whole(at(doc.value, ['autoscaling', 'maxReplicas']));
    if (at(doc.value, ['autoscaling', 'enabled']) === true && (most ?? 2) > 1) {
      found.push({
        file: file.path,
        line: doc.lineOf(['autoscaling', 'enabled']),
        why: `${name} polls and is scaled up to ${most ?? 'many'} pods`,
        cure: 'autoscaling: {enabled: false}',
      });
    }
    return found;
  });
}

const fly: Rule = {
  id: 'fly-count',
  about: 'fly.toml without a count: a first deploy makes two machines',
  check: (facts) =>
    facts.project.files.flatMap((file) => {
      if (file.text === null || !/^fly([.-][\w-]+)?\.toml$/.test(baseOf(file.path)) || isAside(file.path))
        return [];
      const doc = readToml(file.text);
      if (!doc) return [];
      return judgeFly(facts, file.path, file.text, doc);
    }),
};

function judgeFly(facts: Facts, path: string, content: string, doc: Structured): Said[] {
  const processes = Object.keys(table(at(doc.value, ['processes'])));
  const groups = processes.length > 0 ? processes : ['app'];
  const app = text(at(doc.value, ['app'])) ?? 'app';
  const variables = Object.keys(table(at(doc.value, ['env'])));
  const polling = groups.flatMap((group) => {
    const launch = launchOf(facts, path, group) ?? onlyDockerfile(facts);
    const process = { name: `${app} ${group === 'app' ? '' : group}`, image: null, launch, variables };
    const verdict = polls(facts, process);
    return verdict === null || sharesLease(facts, process) ? [] : [{ group, verdict }];
  });
  const first = polling[0];
  if (!first) return [];
  const found: Said[] = [];
  const strategy = text(at(doc.value, ['deploy', 'strategy']));
  if (strategy === 'bluegreen' || strategy === 'canary') {
    found.push({
      file: path,
      line: doc.lineOf(['deploy', 'strategy']),
      why: `a ${strategy} deploy runs the new machine beside the old one, and both poll${seen(first.verdict)}`,
      cure: 'strategy = "rolling"',
    });
  }
  const served = servedGroups(doc);
  const isServed = served.length > 0 && (groups.length === 1 || served.includes(first.group));
  const least = whole(at(doc.value, ['http_service', 'min_machines_running']));
  const scaled = groups.length > 1 ? `fly scale count ${first.group}=1` : 'fly scale count 1';
  if (isServed && least !== null && least > 1) {
    found.push({
      file: path,
      line: doc.lineOf(['http_service', 'min_machines_running']),
      why: `${least} machines run at least, and each of them polls${seen(first.verdict)}`,
      cure: `min_machines_running = 1, ${scaled}`,
    });
  } else if (!saysOneMachine(facts, content)) {
    found.push({
      file: path,
      line: processes.length > 0 ? doc.lineOf(['processes', first.group]) : doc.lineOf(['app']),
      why: isServed
        ? `no count is said, and a first deploy makes two machines of what has a service; each of them polls${seen(first.verdict)}`
        : `no count is said: a first deploy makes a standby machine beside the one that polls${seen(first.verdict)}`,
      cure: `${scaled}   (and fly deploy --ha=false; a comment with it here tells the next reader)`,
    });
  }
  return found;
}

const onlyDockerfile = (facts: Facts): Launch | null => {
  const built = facts.launches.filter(({ manager, development }) => manager === 'docker' && !development);
  return built.length === 1 ? built[0]! : null;
};

/** Groups of processes that have a service; `app` stands for all. */
function servedGroups(doc: Structured): string[] {
  const services = [at(doc.value, ['http_service']), ...list(at(doc.value, ['services']))].filter(
    (one) => one !== undefined,
  );
  return services.flatMap((one) => {
    const named = list(table(one).processes).map(String);
    return named.length > 0 ? named : ['app'];
  });
}

function saysOneMachine(facts: Facts, content: string): boolean {
  const says = (text: string) =>
    /--ha[= ]false|scale\s+count\s+(?:[\w-]+=)?1\b|max_machines_running\s*=\s*1\b/.test(text);
  if (says(content)) return true;
  return facts.project.files.some(
    ({ path, text }) =>
      text !== null && /\.(sh|ya?ml)$|akefile$|justfile$|package\.json$/.test(path) && says(text),
  );
}

const autoscaled: Rule = {
  id: 'autoscaled',
  about:
    'App Engine, Render, Railway, Heroku, DigitalOcean: more than one instance, or as many as there are requests',
  check: (facts) => [
    ...appEngine(facts),
    ...render(facts),
    ...railway(facts),
    ...heroku(facts),
    ...digitalOcean(facts),
  ],
};

function platformProcess(
  facts: Facts,
  file: string,
  name: string,
  variables: readonly string[] = [],
): Process {
  const own = facts.launches.find((launch) => launch.file === file && launch.name === name);
  return { name, image: null, launch: own ?? onlyDockerfile(facts), variables };
}

function appEngine(facts: Facts): Said[] {
  return yamlFiles(facts, (path) => /(^|\/)app\.ya?ml$/.test(path) && !path.includes('.do/')).flatMap(
    ({ file, doc }) => {
      const settings = table(doc.value);
      if (typeof settings.runtime !== 'string') return [];
      const launch =
        facts.launches.find((one) => one.file === file.path) ??
        facts.launches.find(({ manager }) => manager === 'docker') ??
        null;
      const process = {
        name: text(settings.service) ?? 'app',
        image: null,
        launch: launch ?? unsaidApp(facts, file.path),
        variables: Object.keys(table(settings.env_variables)),
      };
      const verdict = polls(facts, process);
      if (verdict === null || sharesLease(facts, process)) return [];
      if (whole(at(settings, ['manual_scaling', 'instances'])) === 1) return [];
      if (whole(at(settings, ['basic_scaling', 'max_instances'])) === 1) return [];
      const key = ['manual_scaling', 'basic_scaling', 'automatic_scaling'].find(
        (one) => settings[one] !== undefined,
      );
      if (
        key === 'automatic_scaling' &&
        whole(at(settings, [key, 'max_instances']) ?? at(settings, [key, 'max_num_instances'])) === 1
      )
        return [];
      return [
        {
          file: file.path,
          line: doc.lineOf(key === undefined ? ['runtime'] : [key]),
          why: `App Engine starts as many instances as there are requests, and each of them polls${seen(verdict)}`,
          cure: 'manual_scaling: {instances: 1}',
        },
      ];
    },
  );
}

/** App Engine runs gunicorn on main:app where nothing else is said. */
function unsaidApp(facts: Facts, path: string): Launch | null {
  const folder = folderOf(path);
  const target = [folder, 'main.py'].filter(Boolean).join('/');
  if (!facts.reach.has(target)) return null;
  return {
    manager: 'appengine',
    file: path,
    line: 1,
    name: 'app',
    command: '',
    folder,
    development: false,
    runs: [],
    env: {},
    polls: facts.reach.polls(target, 'import'),
    resolved: true,
  };
}

function counted(
  facts: Facts,
  file: string,
  doc: Structured,
  path: readonly (string | number)[],
  name: string,
  key: string,
  variables: readonly string[] = [],
): Said[] {
  const value = at(doc.value, [...path, key]);
  const count = whole(value);
  if (count === null || count < 2) return [];
  const process = platformProcess(facts, file, name, variables);
  const verdict = polls(facts, process);
  if (verdict === null || sharesLease(facts, process)) return [];
  return [
    {
      file,
      line: doc.lineOf([...path, key]),
      why: `${count} instances of ${name} poll${seen(verdict)}`,
      cure: `${key}: 1   (${LEASE})`,
    },
  ];
}

function render(facts: Facts): Said[] {
  return yamlFiles(facts, (path) => baseOf(path) === 'render.yaml').flatMap(({ file, doc }) =>
    list(at(doc.value, ['services'])).flatMap((entry, index) => {
      const service = table(entry);
      const name = text(service.name) ?? `service ${index + 1}`;
      const variables = list(service.envVars).map((one) => String(table(one).key ?? ''));
      const found = counted(facts, file.path, doc, ['services', index], name, 'numInstances', variables);
      const most = whole(at(service, ['scaling', 'maxInstances']));
      if (most !== null && most > 1) {
        const process = platformProcess(facts, file.path, name, variables);
        const verdict = polls(facts, process);
        if (verdict && !sharesLease(facts, process)) {
          found.push({
            file: file.path,
            line: doc.lineOf(['services', index, 'scaling']),
            why: `${name} is scaled up to ${most} instances, and each of them polls${seen(verdict)}`,
            cure: 'numInstances: 1, without scaling',
          });
        }
      }
      return found;
    }),
  );
}

function railway(facts: Facts): Said[] {
  return facts.project.files.flatMap((file) => {
    if (file.text === null || !/^railway\.(json|toml)$/.test(baseOf(file.path))) return [];
    const doc = file.path.endsWith('json') ? readYaml(file.text)[0] : readToml(file.text);
    if (!doc) return [];
    const found = counted(facts, file.path, doc, ['deploy'], 'deploy', 'numReplicas');
    const overlap = Number(at(doc.value, ['deploy', 'overlapSeconds']) ?? 0);
    const process = platformProcess(facts, file.path, 'deploy');
    const verdict = polls(facts, process);
    if (overlap > 0 && verdict && !sharesLease(facts, process)) {
      found.push({
        file: file.path,
        line: doc.lineOf(['deploy', 'overlapSeconds']),
        why: `at a deploy the old copy polls on for ${overlap} s beside the new one${seen(verdict)}`,
        cure: 'overlapSeconds: 0',
      });
    }
    return found;
  });
}

function heroku(facts: Facts): Said[] {
  return yamlFiles(facts, (path) => baseOf(path) === 'app.json').flatMap(({ file, doc }) =>
    Object.keys(table(at(doc.value, ['formation']))).flatMap((name) => {
      const launch = facts.launches.find((one) => one.manager === 'procfile' && one.name === name) ?? null;
      const verdict = polls(facts, { name, image: null, launch, variables: [] });
      const count = whole(at(doc.value, ['formation', name, 'quantity']));
      if (verdict === null || count === null || count < 2 || launch?.runs.some(({ lease }) => lease))
        return [];
      return [
        {
          file: file.path,
          line: doc.lineOf(['formation', name, 'quantity']),
          why: `${count} dynos of ${name} poll${seen(verdict)}`,
          cure: `"quantity": 1   (${LEASE})`,
        },
      ];
    }),
  );
}

function digitalOcean(facts: Facts): Said[] {
  return yamlFiles(facts, (path) => /(^|\/)\.do\/\w+\.ya?ml$/.test(path)).flatMap(({ file, doc }) =>
    ['services', 'workers'].flatMap((kind) =>
      list(at(doc.value, [kind])).flatMap((entry, index) =>
        counted(
          facts,
          file.path,
          doc,
          [kind, index],
          text(table(entry).name) ?? kind,
          'instance_count',
          list(table(entry).envs).map((one) => String(table(one).key ?? '')),
        ),
      ),
    ),
  );
}

/** Deploy scripts: `docker compose up --scale bot=3`, `kubectl scale --replicas=3`, `fly scale count 2`, `heroku ps:scale worker=2`. */
const scaleCommands: Rule = {
  id: 'scale-command',
  about: 'scripts that scale the bot to more than one copy',
  check: (facts) =>
    facts.project.files.flatMap(({ path, text: content }) => {
      if (
        content === null ||
        isAside(path) ||
        !/\.(sh|bash)$|akefile$|justfile$|\.github\/workflows\//.test(path)
      )
        return [];
      if (facts.takesUpdates === 'webhook' || facts.lease) return [];
      const pattern =
        /^[^#\n]*(?:--scale\s+([\w-]+)=(\d+)|kubectl\s+scale\s[^\n]*?deploy(?:ment)?[/\s]([\w-]+)[^\n]*--replicas[= ](\d+)|ps:scale\s+([\w-]+)=(\d+)|fly(?:ctl)?\s+scale\s+count\s+(?:([\w-]+)=)?(\d+))/gm;
      return [...content.matchAll(pattern)].flatMap((match) => {
        const name = match[1] ?? match[3] ?? match[5] ?? match[7] ?? '';
        const count = Number(match[2] ?? match[4] ?? match[6] ?? match[8]);
        const launch =
          facts.launches.find(
            (one) => one.name === name && one.manager !== 'npm' && one.manager !== 'make',
          ) ?? null;
        const verdict = polls(facts, { name: name || 'bot', image: null, launch, variables: [] });
        if (count < 2 || verdict === null) return [];
        return [
          {
            file: path,
            line: lineAt(content, match.index + match[0].length - 1),
            why: `this starts ${count} copies${name ? ` of ${name}` : ''}, and each of them polls${seen(verdict)}`,
            cure: `1 instead of ${count}   (${LEASE})`,
          },
        ];
      });
    }),
};

export const PLATFORM_RULES: readonly Rule[] = [compose, kubernetes, fly, autoscaled, scaleCommands];
