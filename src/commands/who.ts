/**
 * `singlepoll who`: who polls this bot? Every trace on this machine, graded, with what keeps it alive, and with --probe whether
 * somebody elsewhere does. Stops nothing.
 */
import type { Config } from '../config/load.ts';
import { botName } from '../output/status-rows.ts';
import { leaseWords, type Paint, painter, RIVAL_CURE } from '../output/words.ts';
import { isRoot } from '../shell.ts';
import type { Stray, Survey } from '../strays/finder.ts';
import { isStopped } from '../strays/grade.ts';
import { cannotAsk, controlPath } from '../supervisor/holder.ts';
import type { LeaseEntry, Problem, StatusDocument } from '../supervisor/status.ts';
import { toEntry, unseenText } from '../supervisor/sweep.ts';
import { configure, type Invocation, warn } from './context.ts';
import { findSupervisor, type Supervisor } from './find.ts';
import { lookForLease, openTools, survey, workerAmong } from './look.ts';
import type { Probed } from './probe.ts';

export async function run(invocation: Invocation): Promise<number> {
  const prober = invocation.own.probe === undefined ? null : await import('./probe.ts');
  const probeMs = prober?.probeTime(invocation.own.probe) ?? null;
  const { config, warnings } = await configure(invocation);
  const json = invocation.own.json === true;
  if (!json) warn(warnings);
  const supervisor = await findSupervisor(config);
  const doc = supervisor?.doc ?? null;
  const tree = new Set(doc?.worker?.tree.map(({ pid }) => pid) ?? []);
  // In deploy mode nobody polls by right, so its worker is asked like everybody else.
  const isPolling = doc?.state !== 'disabled';
  const ours = isPolling ? [...tree] : [];
  const tools = openTools(config, [...ours, ...(doc?.supervisor ? [doc.supervisor.pid] : [])]);
  const look = async () => {
    const found = await survey(config, tools);
    // Where the supervisor does not answer its processes tell whose they are.
    const isIts = (it: Stray): boolean =>
      (tree.has(it.pid) && (isPolling || it.grade === 'hint')) ||
      (supervisor !== null && !doc && it.supervisor !== null);
    const worker = doc ? doc.worker : workerAmong(found.strays.filter(isIts));
    return { ...found, strays: found.strays.filter((it) => !isIts(it)), worker };
  };
  const [found, lease] = await Promise.all([look(), doc ? doc.lease : lookForLease(config)]);
  const paint = await painter(process.stdout);
  const say = (lines: readonly string[]) => {
    if (!json) process.stdout.write(lines.map((line) => `${line}\n`).join(''));
  };
  // What was found here is shown while the probe is still out.
  say(screen(config, supervisor, lease, found, { paint, isProbing: probeMs !== null }));
  const probed =
    prober && probeMs !== null && tools
      ? await prober.probe(config, probeMs, tools, lease, supervisor)
      : null;
  const { strays } = probed ? await look() : found;
  tools?.api.close();
  if (probed) say([...verdictLines(strays, probed, paint), ...probeLines(probed, paint)]);
  if (json) {
    const answer = {
      bot: { id: config.botId, username: doc?.bot?.username ?? null },
      supervisor: doc?.supervisor ?? null,
      worker: found.worker,
      problems: fightsOf(doc),
      lease,
      strays: strays.map(toEntry),
      complete: isComplete(found),
      uninspectable: found.uninspectable,
      probe: probed?.entry ?? null,
    };
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  if (probed?.interruptedBy) return probed.interruptedBy === 'SIGINT' ? 130 : 143;
  // A process that did not react to our question does not poll.
  const isSuspect = ({ grade, pid }: Stray) =>
    probed ? isStopped(grade) || (grade === 'likely' && probed.reacted.pids.includes(pid)) : grade !== 'hint';
  const isElsewhere = probed
    ? probed.entry.result !== 'none' || probed.reacted.unseen
    : fightsOf(doc).length > 0;
  return strays.some(isSuspect) || isElsewhere ? 1 : 0;
}

/** The worker has met conflicts lately: whoever causes them may be on another machine. */
function fightsOf(doc: StatusDocument | null): readonly Problem[] {
  return doc?.problems.filter(({ code }) => code === 'conflict' || code === 'rival') ?? [];
}

const PROBE_LEVELS = { rival: 'error', none: 'good', 'cannot-tell': 'warn' } as const;

function probeLines({ entry, hints }: Probed, paint: Paint): string[] {
  const first = paint(PROBE_LEVELS[entry.result], `probe: ${entry.message}`);
  return [first, ...hints.flatMap(arrows)];
}

/** Tells of each process here what the probe has shown. */
function verdictLines(strays: readonly Stray[], { entry, reacted }: Probed, paint: Paint): string[] {
  return strays.flatMap((stray) => {
    const name = `${nameOf(stray)}${stray.cwd ? `, in ${stray.cwd}` : ''}`;
    if (isStopped(stray.grade)) {
      const cure = respawnerOf(stray) ?? `stop it: kill ${stray.pid}, or singlepoll start -- COMMAND`;
      return [`${paint('error', stray.grade)} ${name}`, `  → ${stray.proof.join(', ')}; ${cure}`];
    }
    if (stray.grade !== 'likely') return [];
    if (reacted.pids.includes(stray.pid))
      return [`${paint('warn', 'may poll:')} ${name}`, `  → ${stray.proof.join(', ')}`];
    return entry.result === 'cannot-tell' ? [] : [`does not poll: ${name}`];
  });
}

function nameOf({ pid, user, command }: Stray): string {
  return `pid ${pid} (${user})  ${command}`;
}

function respawnerOf({ respawner }: Stray): string | null {
  return respawner && `kept alive by ${respawner.kind} (${respawner.name}): ${respawner.stopCommand}`;
}

const LEVELS = { likely: 'warn', hint: 'info', own: 'error', proven: 'error', declared: 'error' } as const;

type Found = Survey & Pick<StatusDocument, 'worker'>;

/** Every process of this machine could be looked into. */
const isComplete = ({ uninspectable: { count, hidden } }: Found): boolean => count === 0 && !hidden;

function screen(
  config: Config,
  supervisor: Supervisor | null,
  lease: LeaseEntry | null,
  found: Found,
  { paint, isProbing }: { paint: Paint; isProbing: boolean },
): string[] {
  const { botId } = config;
  const { strays, uninspectable, worker } = found;
  const doc = supervisor?.doc ?? null;
  const name = botName({ bot: { id: botId, username: doc?.bot?.username ?? null } });
  const of = doc?.supervisor?.pid ?? supervisor?.holder?.pid ?? 'unknown';
  const lines = [
    `${name}: ${worker?.pid ? `worker ${worker.pid} of supervisor ${of}` : 'no worker of singlepoll runs here'}`,
  ];
  if (supervisor && !doc) {
    const { message, hint } = cannotAsk(supervisor.holder, controlPath(botId));
    lines.push(`${paint('error', '!')} ${message}`, ...arrows(hint));
  }
  if (lease) lines.push(`lease: ${leaseWords(lease, Date.now())}`);
  if (lease?.unreachable) lines.push(`  → ${lease.unreachable}`);
  for (const stray of strays) {
    const ask = stray.grade === 'likely' ? '; singlepoll who --probe tells whether it polls' : '';
    const place = stray.cwd ? `; in ${stray.cwd}` : '';
    lines.push(`${paint(LEVELS[stray.grade], stray.grade.padEnd(9))} ${nameOf(stray)}`);
    for (const more of [`${stray.proof.join(', ')}${ask}${place}`, respawnerOf(stray)])
      if (more) lines.push(`          ${more}`);
  }
  for (const { message, hint } of fightsOf(doc)) {
    // This command is no answer to itself: the probe says more.
    const canAsk = doc?.polling?.via === 'gateway';
    const isSelf = hint === undefined || hint.startsWith('singlepoll who');
    const next = isSelf ? (canAsk ? 'singlepoll who --probe' : RIVAL_CURE) : hint;
    lines.push(`${paint('error', '!')} ${message}`, ...(isProbing ? [] : arrows(next)));
  }
  if (strays.length === 0) lines.push(nobodyElse(found));
  else if (uninspectable.count > 0) lines.push(unseenText(uninspectable));
  if (strays.length === 0 && !supervisor && !isProbing)
    lines.push('  → singlepoll who --probe    # asks: a bot that reads its token from a file shows only so');
  if (!isComplete(found) && !isRoot()) lines.push('  → sudo singlepoll who');
  return lines;
}

function nobodyElse(found: Found): string {
  if (isComplete(found)) return 'nobody else on this machine holds its token or carries its name';
  const { present, uninspectable } = found;
  const inspected = Math.max(0, present.length - uninspectable.count);
  const hidden = uninspectable.hidden
    ? '/proc hides those of other users (hidepid)'
    : unseenText(uninspectable);
  return `nobody else among the ${inspected} processes that this user may see holds its token or carries its name; ${hidden}`;
}

const arrows = (hint: string | undefined): string[] =>
  (hint ?? '').split('\n').flatMap((line) => (line ? [`  → ${line}`] : []));
