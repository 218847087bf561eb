/**
 * What is looked at while the worker runs: the webhook, signs of polling, the heartbeat, and after a 409 who on this machine
 * caused it. Without a 409 nobody is looked for.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { incumbentAfterMs } from '../gateway/events.ts';
import { nobodyHereWords } from '../gateway/words.ts';
import { BY_PROXY, whyPast } from '../intercept/past.ts';
import { plainCommand } from '../output/plain.ts';
import { duration, leaseWords, PAST_WITH_LEASE } from '../output/words.ts';
import { isRoot } from '../shell.ts';
import { shared } from '../turns.ts';
import type { GivenGateway, Guarding } from './ahead.ts';
import type { Run } from './run.ts';
import { unseenWords } from './sweep.ts';
import type { Ending } from './table.ts';
import type { Sign } from './worker-tree.ts';

export type Watch = ReturnType<typeof watch>;

/** A 409 may be the echo of a stray that was stopped this short a time ago (the server holds one for 3 s). */
const STOPPED_LATELY_MS = 5_000;
/** Of several that take turns here, not each reacts to each poll. */
const SILENT_POLLS = 2;
const WEBHOOK_EVERY_MS = 60_000;
/** A long poll can be told from other requests at this uptime of a worker. It is looked for then, and so that it is told of within 10 s. */
const FIRST_SIGN_MS = 3_200;
const SIGN_EVERY_MS = 3_000;
const LATER_SIGN_EVERY_MS = 15_000;
const LATER_MS = 60_000;

/** `gateway`: polls are seen there, so a connection to the API root is a sign only that the worker passes it by. */
export function watch(run: Run, guarding: Guarding, gateway: GivenGateway | null) {
  const { report, status, config, tree, bus, loop } = run;
  const { sweeper, prover, webhook } = guarding;
  const insisted = new Set<string>();
  const over = new AbortController();
  /** Rejects at the end. */
  const wait = (ms: number) => pause(ms, undefined, { signal: over.signal });
  const alive = () => !over.signal.aborted && ['starting', 'polling'].includes(loop.state.phase);

  const hunt = prover.hunt({
    // Polls that do not pass the gateway are not seen to go out.
    asks: () => !gateway || status.record.polling.via === 'direct',
    onReaction: reacted,
    onNobody: sayNobodyHere,
    onError: failed,
  });
  bus.conflict.add(hunt.conflict);
  bus.pollSent.add(hunt.sent);
  bus.reacted.add(reacted);

  let isDue = false;
  /** Polls of ours in a row that were watched, and to which nobody here reacted. */
  let silentPolls = 0;

  /** Whoever is convicted by now is stopped, or named. */
  function reacted(): void {
    isDue = true;
    silentPolls = 0;
    void act();
  }

  const act = shared(() => stopOrName().catch(failed));

  async function stopOrName(): Promise<void> {
    while (isDue && alive()) {
      isDue = false;
      const ending = await sweeper.again(loop.abandoned);
      const suspect = suspectWords();
      status.note({ kind: 'rival', rival: { suspect: suspect?.text ?? null } });
      if (!alive()) continue;
      const found = { here: ending?.reason ?? null, hint: ending?.hint ?? suspect?.hint ?? null };
      const { elsewhere } = status.record.rival;
      // What was said of one elsewhere stays, with its cure.
      if (ending) status.note({ kind: 'rival', rival: { ...found, elsewhere: null } });
      else if (elsewhere === null) status.note({ kind: 'rival', rival: found });
      if (ending) giveWay(ending);
    }
  }

  /** A rival of this machine that can't be stopped from here: who was here first goes on, unless told otherwise. */
  function giveWay(ending: Ending): void {
    const isAsked = config.onRival === 'insist';
    const insists = isAsked || (config.onRival === null && isIncumbent());
    if (!insists) loop.send({ kind: 'blocked', ending });
    if (!insists || insisted.has(ending.reason)) return;
    insisted.add(ending.reason);
    const why = isAsked ? 'as asked (--on-rival insist)' : 'as it was here first';
    const text = `this run goes on, ${why}: the two poll by turns until the other one is stopped`;
    report.line('rival', text, 'warn');
  }

  /** Names the process that has reacted and still lives, else the user of one that this user may not look into. */
  function suspectWords() {
    const { reactions } = prover.evidence();
    const suspect = status.record.strays.find(({ pid }) => reactions.has(pid));
    const words = (who: string) =>
      `It may be ${who}, which has reacted to a poll of ours; that is no proof yet`;
    if (suspect) return { text: words(`pid ${suspect.pid} of this machine (${suspect.command})`) };
    const [unseen] = prover.unseen().map(unseenWords);
    return unseen ? { text: words(`${unseen.who} of this machine`), hint: unseen.hint } : null;
  }

  function failed(error: unknown): void {
    report.line('stray', `the look for strays failed: ${String(error)}`, 'error');
  }

  /** A poll of ours was watched, and nobody here reacted: the one thing that can't be cured from here. */
  function sayNobodyHere({ blind }: { readonly blind: boolean }): void {
    if (performance.now() - sweeper.lastStopAtMs() < STOPPED_LATELY_MS) return;
    // The one that was named may have gone since, and another machine's may be the cause now.
    if (status.record.rival.here !== null) {
      reacted();
      return;
    }
    silentPolls += 1;
    if (!blind && silentPolls < SILENT_POLLS) return;
    const { text, hint } = nobodyHereWords(blind, isRoot());
    if (status.record.rival.elsewhere === text) return;
    status.note({ kind: 'rival', rival: { elsewhere: text, hint } });
    report.line('conflict', text, 'error', { hint });
  }

  function heartbeat(): void {
    const { state } = loop;
    const lease = status.sources.lease?.status();
    if (state.phase === 'standby' && lease)
      report.line('hb', `standing by: ${leaseWords(lease, Date.now())}`, 'info', { lease });
    if (!alive() || state.pid === null) return;
    const { offset, polls, updates, conflicts } = status.record.polling;
    const { pid: worker, restarts } = state;
    const up = duration(status.agoMs('worker-start'));
    report.line(
      'hb',
      `alive offset=${offset ?? 'unknown'} worker=${worker} up=${up.replaceAll(' ', '')}`,
      'info',
      { offset, worker, polls, updates, restarts, conflicts },
    );
  }

  async function sayPast({ pid, kind, isElsewhere }: Sign): Promise<void> {
    if (status.record.polling.past !== null) return;
    const found = await whyPast(pid, config.intercept, config.cwd);
    // It has ended since; there may be another.
    if (found === null) return;
    const isTyped = found.cure === BY_PROXY && config.command?.source === 'command line';
    const cure = isTyped ? `${BY_PROXY} -- ${plainCommand(run.command)}` : found.cure;
    // The Bot API turns down a sealed one at once.
    const isUnsealed = config.sealed && kind === 'waits';
    if (isUnsealed) status.note({ kind: 'unsealed' });
    const parts = [
      isElsewhere && `it asks api.telegram.org and not ${config.apiRoot}`,
      isUnsealed && 'it has the real token and not the sealed one',
      config.sealed && !isUnsealed && 'its sealed token is not known there (401)',
      found.why,
    ];
    const why = parts.filter(Boolean).join('; ');
    status.note({ kind: 'past-gateway', past: { why, cure } });
    const lease = status.sources.lease ? `; ${PAST_WITH_LEASE}` : '';
    const text = `the worker goes past the gateway, so its polls are neither seen nor kept apart${lease}`;
    report.line('gateway', `${text}: ${why}. To do: ${cure}`, 'warn');
  }

  /**
   * Past the gateway a poll can be seen from outside only: a request that waits for its answer. The first one of a connection may not
   * show, as TLS says something after it, so one that is quiet at two looks has to do; without a gateway only where the system tells no
   * more (no ss of iproute2).
   */
  async function lookForPolls(spawn: number): Promise<void> {
    const isPresent = () => loop.state.spawn === spawn && loop.state.phase === 'starting';
    let before: Sign | null = null;
    for (let upMs = 0; ; ) {
      const waitMs = upMs === 0 ? FIRST_SIGN_MS : upMs < LATER_MS ? SIGN_EVERY_MS : LATER_SIGN_EVERY_MS;
      await wait(waitMs);
      upMs += waitMs;
      if (!isPresent()) return;
      const seen = await tree.sign(loop.state.pid).catch(() => null);
      // Whoever only calls may be an alert's sender; with a sealed token it can't be.
      const sign = seen?.kind === 'calls' && !config.sealed ? null : seen;
      if (over.signal.aborted || !isPresent()) return;
      if (sign?.kind === 'waits' || (sign !== null && before !== null)) {
        if (gateway) await sayPast(sign);
        if (!isPresent()) return;
        const isPoll = sign.kind === 'quiet' ? gateway !== null : sign.kind !== 'calls';
        if (isPoll && !sign.isElsewhere) {
          loop.send({ kind: 'polled' });
          return;
        }
      }
      before = sign;
    }
  }

  let firstPolledMs = Number.POSITIVE_INFINITY;
  /** This run polled undisturbed for long enough before the other one came. */
  const isIncumbent = () =>
    gateway?.watch.isIncumbent() ?? performance.now() - firstPolledMs >= incumbentAfterMs(config);

  let seenSpawn = 0;
  run.status.onNote(() => {
    const { phase, pid, spawn } = loop.state;
    if (phase === 'polling') firstPolledMs = Math.min(firstPolledMs, performance.now());
    if (status.runState() === 'standby') firstPolledMs = Number.POSITIVE_INFINITY;
    if (phase !== 'starting' || pid === null || spawn === seenSpawn) return;
    seenSpawn = spawn;
    lookForPolls(spawn).catch((error: unknown) => over.signal.aborted || failed(error));
    // Before the spawn there was no time to ask for more than stat lines.
    if (spawn > 1) sweeper.leftovers(loop.abandoned).catch(failed);
  });
  const timers = [
    setInterval(() => alive() && void webhook.again(loop.abandoned), WEBHOOK_EVERY_MS),
    setInterval(heartbeat, config.heartbeatMs),
  ];
  return {
    /** Renews the poll and sees who of this machine loses it. The answer in words; null: it can't be asked. */
    async question(renew: () => void): Promise<string | null> {
      const before = status.record.tally.straysStopped;
      if (!(await hunt.question(renew))) return null;
      await act();
      const { tally, strays, rival, overlap } = status.record;
      if (tally.straysStopped > before)
        return `somebody else polled here and was stopped: ${tally.lastStray}`;
      const guilty = strays.find(({ grade }) => grade === 'proven');
      if (guilty) return rival.here ?? `pid ${guilty.pid} (${guilty.command}) polls, too`;
      return rival.here ?? (overlap && suspectWords()?.text) ?? '';
    },
    stop(): void {
      over.abort();
      for (const timer of timers) clearInterval(timer);
      hunt.stop();
    },
  };
}
