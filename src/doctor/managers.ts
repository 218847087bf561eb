/** Process managers: pm2, supervisord, Procfile, cron, CI, and two of their processes that both poll. */
import { withoutComments } from '../project/code.ts';
import type { Facts } from '../project/facts.ts';
import { baseOf, folderOf, isAside, joinPath, lineAt, type ProjectFile } from '../project/files.ts';
import { isBotName } from '../project/kinds.ts';
import type { Launch } from '../project/launches.ts';
import { builtFrom, scriptFile } from '../project/reach.ts';
import { optionValue } from '../project/run.ts';
import { at, list, readYaml, table } from '../project/structured.ts';
import { type Finding, place, type Rule } from './finding.ts';

type Said = Omit<Finding, 'rule'>;

interface Pm2App {
  readonly file: string;
  readonly name: string;
  readonly script: string;
  readonly cwd: string;
  /** As it is written; null where it is not set. */
  readonly instances: string | null;
  readonly mode: string | null;
  readonly instancesLine: number;
  readonly modeLine: number;
}

const isPm2File = (path: string, text: string): boolean =>
  /^(ecosystem|pm2|process)[\w.-]*\.(c?js|mjs|json|ya?ml)$|\.config\.c?js$/.test(baseOf(path)) &&
  /\bapps\b/.test(text) &&
  /\bscript\b/.test(text);

const pm2: Rule = {
  id: 'pm2-instances',
  about: 'pm2 with several instances, or in cluster mode',
  check: (facts) => [...pm2Apps(facts).flatMap((app) => judgePm2(facts, app)), ...pm2Commands(facts)],
};

function pm2Apps(facts: Facts): Pm2App[] {
  return facts.project.files.flatMap((file) => {
    if (file.text === null || isAside(file.path) || !isPm2File(file.path, file.text)) return [];
    return /js$/.test(file.path) ? pm2Script(file, file.text) : pm2Data(file, file.text);
  });
}

function pm2Data({ path }: ProjectFile, text: string): Pm2App[] {
  return readYaml(text).flatMap((doc) =>
    list(at(doc.value, ['apps'])).map((entry, index) => {
      const app = table(entry);
      return {
        file: path,
        name: String(app.name ?? ''),
        script: String(app.script ?? ''),
        cwd: String(app.cwd ?? ''),
        instances: app.instances === undefined ? null : String(app.instances),
        mode: app.exec_mode === undefined ? null : String(app.exec_mode),
        instancesLine: doc.lineOf(['apps', index, 'instances']),
        modeLine: doc.lineOf(['apps', index, 'exec_mode']),
      };
    }),
  );
}

/** A configuration in code is not run, only read: each object with a `script`. */
function pm2Script({ path }: ProjectFile, text: string): Pm2App[] {
  const code = withoutComments(path, text);
  return [...code.matchAll(/(?<![\w.])["']?script["']?\s*:\s*["'`]([^"'`]+)["'`]/g)].map((match) => {
    const [from, to] = objectAround(code, match.index);
    const body = code.slice(from, to);
    const find = (key: string) => {
      const found = new RegExp(`(?<![\\w.])["']?${key}["']?\\s*:\\s*([^,\\n}]+)`).exec(body);
      return found
        ? {
            value: found[1]!.trim().replace(/^["'`]|["'`]$/g, ''),
            line: lineAt(code, from + found.index + found[0].search(/\S/)),
          }
        : null;
    };
    const instances = find('instances');
    const mode = find('exec_mode');
    const line = lineAt(code, match.index);
    return {
      file: path,
      name: find('name')?.value ?? '',
      script: match[1]!,
      cwd: find('cwd')?.value ?? '',
      instances: instances?.value ?? null,
      mode: mode?.value ?? null,
      instancesLine: instances?.line ?? line,
      modeLine: mode?.line ?? line,
    };
  });
}

function objectAround(code: string, index: number): [number, number] {
  let depth = 0;
  let from = index;
  for (; from > 0; from--) {
    if (code[from] === '}') depth += 1;
    if (code[from] === '{' && depth-- === 0) break;
  }
  depth = 0;
  let to = from;
  for (; to < code.length; to++) {
    if (code[to] === '{') depth += 1;
    if (code[to] === '}' && --depth === 0) break;
  }
  return [from, to];
}

function judgePm2(facts: Facts, app: Pm2App): Said[] {
  const folder = joinPath(folderOf(app.file), /^[\w.-]+(\/[\w.-]+)*\/?$/.test(app.cwd) ? app.cwd : '.') ?? '';
  const path = joinPath(folder, app.script);
  const target = path === null ? null : (scriptFile(path, facts.reach) ?? builtFrom(path, facts.reach));
  const polls = target === null ? null : facts.reach.polls(target, 'run');
  if (
    polls === null &&
    (target !== null || facts.takesUpdates === 'webhook' || !isBotName(`${app.name} ${app.script}`))
  )
    return [];
  const seen = polls ? `: ${place(polls)} (${polls.what})` : '';
  const count = app.instances ?? '1';
  const number = /-?\d+(?!.*\d)/.exec(count)?.[0];
  const many =
    /max|cpus|availableParallelism/.test(count) ||
    number === '0' ||
    Number(number ?? 1) > 1 ||
    Number(number ?? 1) < 0;
  const called = app.name || app.script;
  if (many) {
    return [
      {
        file: app.file,
        line: app.instancesLine,
        why: `pm2 runs ${/^\d+$/.test(count) && count !== '0' ? count : `one per core (${count})`} instances of ${called}, and each of them polls${seen}`,
        cure: "instances: 1, exec_mode: 'fork'",
      },
    ];
  }
  if (/^cluster/.test(app.mode ?? '')) {
    return [
      {
        file: app.file,
        line: app.modeLine,
        why: `in cluster mode \`pm2 reload\` starts the new ${called} before it stops the old one, and both poll${seen}`,
        cure: "exec_mode: 'fork'",
      },
    ];
  }
  return [];
}

function pm2Commands(facts: Facts): Said[] {
  return facts.launches.flatMap((launch) =>
    launch.runs.flatMap((run) => {
      if (!/^pm2(-runtime|-docker)?$/.test(run.program)) return [];
      const count = optionValue(run.words, ['-i', '--instances']);
      if (count === null || count === '1') return [];
      const polls = run.target === null ? null : facts.reach.polls(run.target, 'run');
      if (polls === null && (run.target !== null || facts.takesUpdates !== 'polling')) return [];
      const words = run.words.filter(
        (word, index) =>
          !/^(-i|--instances)/.test(word) && !/^(-i|--instances)$/.test(run.words[index - 1] ?? ''),
      );
      return [
        {
          file: launch.file,
          line: launch.line,
          why: `pm2 runs ${count === 'max' || count === '0' ? 'an instance per core' : `${count} instances`}, and each of them polls${polls ? `: ${place(polls)} (${polls.what})` : ''}`,
          cure: words.join(' '),
        },
      ];
    }),
  );
}

const numprocs: Rule = {
  id: 'supervisord-numprocs',
  about: 'supervisord with numprocs above 1',
  check: (facts) =>
    facts.launches.flatMap((launch) => {
      if (launch.manager !== 'supervisord' || !(launch.polls || (!launch.resolved && isBotName(launch.name))))
        return [];
      const rows = facts.text(launch.file).split(/\r?\n/);
      const from = rows.findIndex((row) => row.trim() === `[program:${launch.name}]`);
      const to = rows.findIndex((row, index) => index > from && /^\s*\[/.test(row));
      const at = rows.findIndex(
        (row, index) =>
          index > from && (to < 0 || index < to) && /^\s*numprocs\s*=\s*(?!1\s*$|0)\d+/.test(row),
      );
      if (at < 0) return [];
      return [
        {
          file: launch.file,
          line: at + 1,
          why: `supervisord runs ${/\d+/.exec(rows[at]!)?.[0]} copies of ${launch.name}, and each of them polls`,
          cure: 'numprocs=1',
        },
      ];
    }),
};

/** Processes of one file run side by side. */
const SIDE_BY_SIDE = new Set([
  'procfile',
  'compose',
  'fly',
  'supervisord',
  'render',
  'heroku',
  'digitalocean',
  'kubernetes',
]);

const twoPollers: Rule = {
  id: 'two-pollers',
  about: 'two processes of one Procfile, compose file, fly.toml, supervisord.conf … that both poll',
  check: (facts) => {
    const groups = new Map<string, Launch[]>();
    for (const launch of facts.launches) {
      if (!SIDE_BY_SIDE.has(launch.manager) || launch.polls === null || launch.name === 'release') continue;
      if (launch.runs.some(({ lease }) => lease)) continue;
      const group = groups.get(launch.file) ?? [];
      if (!group.some(({ name }) => name === launch.name)) group.push(launch);
      groups.set(launch.file, group);
    }
    return [...groups.values()].flatMap((group) => {
      const bots = new Map<string, Launch>();
      return group.flatMap((launch) => {
        const bot = botOf(facts, launch);
        const first = bots.get(bot);
        if (first === undefined) {
          bots.set(bot, launch);
          return [];
        }
        // Two bots in one repository have code of their own.
        if (isOtherBot(facts, first, launch)) return [];
        return [
          {
            file: launch.file,
            line: launch.line,
            why: `${first.name} and ${launch.name} both poll: ${place(first.polls!)} and ${place(launch.polls!)}`,
            cure: `take the polling out of one of them: POLLING_ENABLED=0 for ${bystander(first, launch)}, where the code looks at it`,
          },
        ];
      });
    });
  },
};

const bystander = (a: Launch, b: Launch): string => (/web|api|http/i.test(a.name) ? a.name : b.name);

/** What tells the bots of several services apart: the env file and the token that a compose service is given. */
function botOf(facts: Facts, launch: Launch): string {
  if (launch.manager !== 'compose') return '';
  for (const doc of readYaml(facts.text(launch.file))) {
    const service = table(at(doc.value, ['services', launch.name]));
    const environment = service.environment;
    const rows = Array.isArray(environment)
      ? environment.map(String)
      : Object.entries(table(environment)).map(([name, value]) => `${name}=${String(value)}`);
    const token = rows.filter((row) => /TOKEN/i.test(row.split('=')[0] ?? '')).sort();
    return JSON.stringify([service.env_file ?? null, token, service.profiles ?? null]);
  }
  return '';
}

/** The variables that hold the token differ: `os.environ["SALES_BOT_TOKEN"]` here, `SUPPORT_BOT_TOKEN` there. */
function isOtherBot(facts: Facts, a: Launch, b: Launch): boolean {
  const variables = (launch: Launch) =>
    new Set(
      launch.runs
        .flatMap(({ target }) => (target === null ? [] : facts.reach.files(target)))
        .flatMap((path) =>
          [...facts.text(path).matchAll(/\b[A-Z][A-Z0-9_]*TOKEN[A-Z0-9_]*\b/g)].map(([name]) => name),
        ),
    );
  const [ofA, ofB] = [variables(a), variables(b)];
  return ofA.size > 0 && ofB.size > 0 && ![...ofA].some((name) => ofB.has(name));
}

const cron: Rule = {
  id: 'cron-starts',
  about: 'a crontab line or scheduled workflow that starts the bot again and again',
  check: (facts) => [
    ...facts.launches.flatMap((launch) => {
      if (launch.manager !== 'cron' || launch.polls === null || launch.name.startsWith('@')) return [];
      if (/\bflock\b|\bpgrep\b|singlepoll/.test(launch.command)) return [];
      return [
        {
          file: launch.file,
          line: launch.line,
          why: `cron starts another poller each time (${launch.name}), whether or not the last one runs: ${place(launch.polls)}`,
          cure: `@reboot singlepoll start -- ${launch.command}`,
        },
      ];
    }),
    ...workflows(facts),
  ],
};

/** Runs of a workflow overlap unless it has a concurrency group. */
function workflows(facts: Facts): Said[] {
  return facts.launches.flatMap((launch) => {
    if (launch.manager !== 'workflow' || launch.polls === null) return [];
    const [doc] = readYaml(facts.text(launch.file));
    if (!doc || at(doc.value, ['concurrency']) !== undefined) return [];
    if (at(doc.value, ['jobs', launch.name, 'concurrency']) !== undefined) return [];
    return [
      {
        file: launch.file,
        line: launch.line,
        why: `every run of this workflow polls, and runs overlap: ${place(launch.polls)} (${launch.polls.what})`,
        cure: 'concurrency: {group: bot, cancel-in-progress: true}',
      },
    ];
  });
}

export const MANAGER_RULES: readonly Rule[] = [pm2, numprocs, twoPollers, cron];
