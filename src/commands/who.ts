/**
 * `singlepoll who`: who polls this bot? Every trace on this machine, graded, with what keeps it alive, and with --probe whether
 * somebody elsewhere does. Stops nothing.
 */

import { leaseWords, type Paint, painter, RIVAL_ELSEWHERE } from '../output/words.ts';
import type { Stray } from '../strays/finder.ts';
import { isStopped } from '../strays/grade.ts';
import type { LeaseEntry, Problem, StatusDocument } from '../supervisor/status.ts';
import { toEntry } from '../supervisor/sweep.ts';
import { configure, type Invocation, warn } from './context.ts';
import { lookForLease, openTools, supervisorOf, survey } from './look.ts';
import type { Probed } from './probe.ts';

export async function run(invocation: Invocation): Promise<number> {
  const prober = invocation.own.probe === undefined ? null : await import('./probe.ts');
  const probeMs = prober?.probeTime(invocation.own.probe) ?? null;
  const { config, warnings } = await configure(invocation);
  const json = invocation.own.json === true;
  if (!json) warn(warnings);
  const { doc } = await supervisorOf(config);
  const tree = new Set(doc?.worker?.tree.map(({ pid }) => pid) ?? []);
  const tools = openTools(config, [...tree, ...(doc?.supervisor ? [doc.supervisor.pid] : [])]);
  const [found, lease] = await Promise.all([survey(config, tools), doc ? doc.lease : lookForLease(config)]);
  let strays = found.strays.filter(({ pid }) => !tree.has(pid));
  const paint = await painter(process.stdout, process.env);
  // What was found here is shown while the probe is still out.
  if (!json) {
    process.stdout.write(screen(config.botId, doc, lease, strays, found.uninspectable, paint));
  }
  const probed =
    prober && probeMs !== null && tools ? await prober.probe(config, probeMs, { tools, lease }) : null;
  if (probed) {
    const after = await survey(config, tools);
    strays = after.strays.filter(({ pid }) => !tree.has(pid));
    if (!json) process.stdout.write(verdictLines(strays, probed, paint));
  }
  tools?.api.close();
  if (json) {
    const answer = {
      bot: { id: config.botId, username: doc?.bot?.username ?? null },
      supervisor: doc?.supervisor ?? null,
      worker: doc?.worker ?? null,
      problems: doc?.problems.filter(isFight) ?? [],
      lease,
      strays: strays.map(toEntry),
      uninspectable: found.uninspectable,
      probe: probed?.entry ?? null,
    };
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  } else if (probed) process.stdout.write(probeLines(probed, paint));
  if (probed?.interruptedBy) return probed.interruptedBy === 'SIGINT' ? 130 : 143;
  // A process that did not react to our question does not poll.
  const suspects = strays.filter(({ grade }) => (probed ? isStopped(grade) : grade !== 'hint'));
  if (probed) return suspects.length > 0 || probed.entry.result !== 'none' ? 1 : 0;
  return suspects.length > 0 || fightsElsewhere(doc) ? 1 : 0;
}

const ASK = 'singlepoll who --probe tells whether it polls';
const PROBE_LEVELS = { rival: 'error', none: 'good', 'cannot-tell': 'warn' } as const;

function probeLines({ entry, hints }: Probed, paint: Paint): string {
  const first = paint(PROBE_LEVELS[entry.result], `probe: ${entry.message}`);
  return `${[first, ...hints.map((hint) => `  → ${hint}`)].join('\n')}\n`;
}

/** Tells of each process here what the probe has shown. */
function verdictLines(strays: readonly Stray[], { entry }: Probed, paint: Paint): string {
  const lines = strays.flatMap((stray) => {
    const name = `pid ${stray.pid} (${stray.user})  ${stray.command}${stray.cwd ? `, in ${stray.cwd}` : ''}`;
    if (isStopped(stray.grade)) {
      const cure = stray.respawner
        ? `kept alive by ${stray.respawner.kind} (${stray.respawner.name}): ${stray.respawner.stopCommand}`
        : `stop it: kill ${stray.pid}, or singlepoll start -- COMMAND`;
      return [`${paint('error', stray.grade)} ${name}`, `  → ${stray.proof.join(', ')}; ${cure}`];
    }
    return stray.grade === 'likely' && entry.result !== 'cannot-tell' ? [`does not poll: ${name}`] : [];
  });
  return lines.map((line) => `${line}\n`).join('');
}

const isFight = ({ code }: Problem) => code === 'conflict' || code === 'rival';

/** The worker has met conflicts lately: whoever causes them may be on another machine. */
function fightsElsewhere(doc: StatusDocument | null): boolean {
  return doc?.problems.some(isFight) ?? false;
}

function screen(
  botId: number | null,
  doc: StatusDocument | null,
  lease: LeaseEntry | null,
  strays: readonly Stray[],
  uninspectable: { count: number; users: Readonly<Record<string, number>>; hidden: boolean },
  paint: Paint,
): string {
  const lines: string[] = [];
  const name = doc?.bot?.username ? `@${doc.bot.username} (${botId})` : `bot ${botId}`;
  if (doc?.worker?.pid) lines.push(`${name}: worker ${doc.worker.pid} of supervisor ${doc.supervisor?.pid}`);
  else lines.push(`${name}: no worker of singlepoll runs here`);
  if (lease) lines.push(`lease: ${leaseWords(lease, Date.now())}`);
  if (lease?.unreachable) lines.push(`  → ${lease.unreachable}`);
  for (const stray of strays) {
    const level = stray.grade === 'likely' ? 'warn' : stray.grade === 'hint' ? 'info' : 'error';
    lines.push(`${paint(level, stray.grade.padEnd(9))} pid ${stray.pid} (${stray.user})  ${stray.command}`);
    const ask = stray.grade === 'likely' ? `; ${ASK}` : '';
    lines.push(`          ${stray.proof.join(', ')}${ask}${stray.cwd ? `; in ${stray.cwd}` : ''}`);
    if (stray.respawner) {
      lines.push(
        `          kept alive by ${stray.respawner.kind} (${stray.respawner.name}): ${stray.respawner.stopCommand}`,
      );
    }
  }
  for (const problem of doc?.problems ?? []) {
    if (isFight(problem))
      lines.push(`${paint('error', '!')} ${problem.message}`, `  → ${problem.hint ?? RIVAL_ELSEWHERE}`);
  }
  if (strays.length === 0) lines.push('nobody else on this machine holds its token or carries its name');
  if (uninspectable.count > 0) {
    const users = Object.entries(uninspectable.users).map(([user, count]) => `${count} of ${user}`);
    lines.push(
      `${uninspectable.count} ${uninspectable.count === 1 ? 'process' : 'processes'} could not be inspected (${users.join(', ')})${process.getuid?.() === 0 ? '' : '; sudo sees them'}`,
    );
  }
  if (uninspectable.hidden) lines.push('/proc hides other users’ processes (hidepid); sudo sees them');
  return `${lines.join('\n')}\n`;
}
