/**
 * `singlepoll who`: who polls this bot? Every trace on this machine, graded, with what keeps it alive, and with --probe whether
 * somebody elsewhere does. Stops nothing.
 */
import { loadConfig } from '../config/load.ts';
import { positiveFlags } from '../config/options.ts';
import { absoluteFlags } from '../config/sources.ts';
import { TOKEN_VARIABLES } from '../config/token.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { plain } from '../output/plain.ts';
import { leaseWords, type Paint, painter, RIVAL_ELSEWHERE } from '../output/words.ts';
import { shellQuote } from '../shell.ts';
import type { Stray } from '../strays/finder.ts';
import { isStopped } from '../strays/grade.ts';
import { recallStart } from '../supervisor/memory.ts';
import type { LeaseEntry, Problem, StatusDocument } from '../supervisor/status.ts';
import { toEntry } from '../supervisor/sweep.ts';
import { configure, type Invocation, type Loaded, namedBot, warn, workingFolder } from './context.ts';
import { botNamed } from './find.ts';
import { lookForLease, openTools, supervisorOf, survey } from './look.ts';
import type { Probed } from './probe.ts';

export async function run(invocation: Invocation): Promise<number> {
  const prober = invocation.own.probe === undefined ? null : await import('./probe.ts');
  const probeMs = prober?.probeTime(invocation.own.probe) ?? null;
  const { config, warnings } = await configureNamed(invocation);
  const json = invocation.own.json === true;
  if (!json) warn(warnings);
  const doc = (await supervisorOf(config))?.doc ?? null;
  const tree = new Set(doc?.worker?.tree.map(({ pid }) => pid) ?? []);
  const tools = openTools(config, [...tree, ...(doc?.supervisor ? [doc.supervisor.pid] : [])]);
  const look = async () => {
    const { strays, uninspectable } = await survey(config, tools);
    return { strays: strays.filter(({ pid }) => !tree.has(pid)), uninspectable };
  };
  const [found, lease] = await Promise.all([look(), doc ? doc.lease : lookForLease(config)]);
  const paint = await painter(process.stdout, process.env);
  const say = (lines: readonly string[]) => {
    if (!json) process.stdout.write(lines.map((line) => `${line}\n`).join(''));
  };
  // What was found here is shown while the probe is still out.
  say(screen(config.botId, doc, lease, found, paint));
  const probed =
    prober && probeMs !== null && tools
      ? await prober.probe(config, probeMs, tools.api, tools.prover, lease)
      : null;
  const { strays } = probed ? await look() : found;
  tools?.api.close();
  if (probed) say([...verdictLines(strays, probed, paint), ...probeLines(probed, paint)]);
  if (json) {
    const answer = {
      bot: { id: config.botId, username: doc?.bot?.username ?? null },
      supervisor: doc?.supervisor ?? null,
      worker: doc?.worker ?? null,
      problems: fightsOf(doc),
      lease,
      strays: strays.map(toEntry),
      uninspectable: found.uninspectable,
      probe: probed?.entry ?? null,
    };
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  if (probed?.interruptedBy) return probed.interruptedBy === 'SIGINT' ? 130 : 143;
  // A process that did not react to our question does not poll.
  const isSuspect = ({ grade }: Stray) => (probed ? isStopped(grade) : grade !== 'hint');
  const isElsewhere = probed ? probed.entry.result !== 'none' : fightsOf(doc).length > 0;
  return strays.some(isSuspect) || isElsewhere ? 1 : 0;
}

/** As it is configured here; with --bot as it was last started, wherever that was. */
async function configureNamed(invocation: Invocation): Promise<Loaded> {
  const name = namedBot(invocation);
  if (name === null) return await configure(invocation);
  const { id, cwd, folder } = await botNamed(name);
  const typed = absoluteFlags(invocation.flags, workingFolder());
  const flags = { ...positiveFlags(recallStart(folder)?.flags ?? {}), ...typed };
  const others = Object.entries(process.env).filter(
    ([key]) => !/^SINGLEPOLL_(?!DIR$)/.test(key) && !(TOKEN_VARIABLES as readonly string[]).includes(key),
  );
  // What is exported here is most likely another bot's; but where the folder has none it may be this one's.
  for (const env of [Object.fromEntries(others), process.env]) {
    const loaded = await loadConfig({ command: 'who', flags, argvCommand: [], env, cwd: cwd ?? '/' });
    if (loaded.ok && loaded.config.botId === id) return loaded;
  }
  throw new SinglepollError(
    EXIT.config,
    `the token of bot ${id} is neither in ${plain(cwd ?? 'its folder')} nor in the environment`,
    `cd ${shellQuote(cwd ?? '.')} && singlepoll who    # with --env-file, --token-file or --token-env`,
  );
}

/** The worker has met conflicts lately: whoever causes them may be on another machine. */
function fightsOf(doc: StatusDocument | null): readonly Problem[] {
  return doc?.problems.filter(({ code }) => code === 'conflict' || code === 'rival') ?? [];
}

const PROBE_LEVELS = { rival: 'error', none: 'good', 'cannot-tell': 'warn' } as const;

function probeLines({ entry, hints }: Probed, paint: Paint): string[] {
  const first = paint(PROBE_LEVELS[entry.result], `probe: ${entry.message}`);
  return [first, ...hints.map((hint) => `  → ${hint}`)];
}

/** Tells of each process here what the probe has shown. */
function verdictLines(strays: readonly Stray[], { entry }: Probed, paint: Paint): string[] {
  return strays.flatMap((stray) => {
    const name = `${nameOf(stray)}${stray.cwd ? `, in ${stray.cwd}` : ''}`;
    if (isStopped(stray.grade)) {
      const cure = respawnerOf(stray) ?? `stop it: kill ${stray.pid}, or singlepoll start -- COMMAND`;
      return [`${paint('error', stray.grade)} ${name}`, `  → ${stray.proof.join(', ')}; ${cure}`];
    }
    return stray.grade === 'likely' && entry.result !== 'cannot-tell' ? [`does not poll: ${name}`] : [];
  });
}

function nameOf({ pid, user, command }: Stray): string {
  return `pid ${pid} (${user})  ${command}`;
}

function respawnerOf({ respawner }: Stray): string | null {
  return respawner && `kept alive by ${respawner.kind} (${respawner.name}): ${respawner.stopCommand}`;
}

const LEVELS = { likely: 'warn', hint: 'info', own: 'error', proven: 'error', declared: 'error' } as const;

function screen(
  botId: number | null,
  doc: StatusDocument | null,
  lease: LeaseEntry | null,
  { strays, uninspectable }: Pick<Awaited<ReturnType<typeof survey>>, 'strays' | 'uninspectable'>,
  paint: Paint,
): string[] {
  const name = doc?.bot?.username ? `@${doc.bot.username} (${botId})` : `bot ${botId}`;
  const worker = doc?.worker?.pid && `worker ${doc.worker.pid} of supervisor ${doc.supervisor?.pid}`;
  const lines = [`${name}: ${worker || 'no worker of singlepoll runs here'}`];
  if (lease) lines.push(`lease: ${leaseWords(lease, Date.now())}`);
  if (lease?.unreachable) lines.push(`  → ${lease.unreachable}`);
  for (const stray of strays) {
    const ask = stray.grade === 'likely' ? '; singlepoll who --probe tells whether it polls' : '';
    const place = stray.cwd ? `; in ${stray.cwd}` : '';
    lines.push(`${paint(LEVELS[stray.grade], stray.grade.padEnd(9))} ${nameOf(stray)}`);
    for (const more of [`${stray.proof.join(', ')}${ask}${place}`, respawnerOf(stray)])
      if (more) lines.push(`          ${more}`);
  }
  for (const { message, hint } of fightsOf(doc))
    lines.push(`${paint('error', '!')} ${message}`, `  → ${hint ?? RIVAL_ELSEWHERE}`);
  if (strays.length === 0) lines.push('nobody else on this machine holds its token or carries its name');
  if (uninspectable.count > 0) {
    const users = Object.entries(uninspectable.users).map(([user, processes]) => `${processes} of ${user}`);
    const sudo = process.getuid?.() === 0 ? '' : '; sudo sees them';
    lines.push(
      `${uninspectable.count === 1 ? 'a process' : `${uninspectable.count} processes`} could not be inspected (${users.join(', ')})${sudo}`,
    );
  }
  if (uninspectable.hidden) lines.push('/proc hides other users’ processes (hidepid); sudo sees them');
  return lines;
}
