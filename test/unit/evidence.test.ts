/** The ledger of reactions: what is said of a process, of the next one with its pid, and of whoever started it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLedger, type Owner, type Seen } from '../../src/strays/reactions.ts';

const parent = { pid: 50, startId: '1' };

function seen(pid: number, startId = String(pid)): Seen {
  const owner: Owner = { pid, startId, parent, program: null };
  return {
    client: { key: `${pid} ${startId}`, uid: 1000, cgroup: null, owner, isHeld: true },
    reaction: { socket: '', bytes: 420, isConflict: true, isTooLong: false, isUnclear: false },
    holdsAnother: false,
  };
}

/** `alive`: pids; each has the start time that `seen` gives it. */
const among =
  (...alive: readonly number[]) =>
  (it: { readonly pid: number; readonly startId: string }) =>
    alive.includes(it.pid) && it.startId === (it.pid === 50 ? '1' : String(it.pid));

test('two reactions to different polls of ours count twice, two to one poll once', () => {
  const ledger = createLedger();
  ledger.reacted(1, 0, seen(60));
  ledger.reacted(1, 0, seen(60));
  assert.deepEqual([...ledger.evidence(among(60)).reactions], [[60, 'once']]);
  ledger.reacted(2, 0, seen(60));
  assert.deepEqual([...ledger.evidence(among(60)).reactions], [[60, 'twice']]);
});

test('one that can not be seen is proven by two reactions, of its own user alone; a new question begins anew', () => {
  const ledger = createLedger();
  const hidden = (uid: number): Seen => {
    const one = seen(60);
    return { ...one, client: { ...one.client, owner: null, uid } };
  };
  ledger.reacted(1, 0, hidden(0));
  ledger.reacted(2, 0, hidden(7));
  const told = () => ledger.unseen().map(({ uid, isProven }) => [uid, isProven]);
  const [roots, others] = [0, 7];
  assert.deepEqual(told(), [
    [roots, false],
    [others, false],
  ]);
  assert.equal(ledger.isOpen(among()), true);
  ledger.reacted(3, 0, hidden(0));
  assert.deepEqual(told()[0], [roots, true]);
  ledger.forgetUnseen();
  assert.deepEqual(told(), []);
  assert.equal(ledger.isOpen(among()), false);
});

test('whoever our polls leave alone more often than not polls another bot, and gets its own 409s by chance when we poll', () => {
  const ledger = createLedger();
  const { owner } = seen(60).client;
  const strength = () => ledger.evidence(among(60)).reactions.get(60);
  ledger.unmoved(owner!);
  ledger.reacted(1, 0, seen(60));
  assert.equal(strength(), undefined);
  ledger.unmoved(owner!);
  ledger.reacted(2, 0, seen(60));
  assert.equal(strength(), undefined);
  assert.equal(ledger.isOpen(among(60)), false);
  // A poller of ours that once waited for something else.
  ledger.reacted(3, 0, seen(60));
  assert.equal(strength(), 'twice');
});

test('while nobody here reacts to most of our polls somebody elsewhere takes them, and two reactions are chance', () => {
  const ledger = createLedger();
  const strength = () => ledger.evidence(among(60)).reactions.get(60);
  const [minute, now] = [6_000, 1_000_000];
  for (const ago of [20, 15, 2, 1]) ledger.silent(now - ago * minute);
  ledger.reacted(1, now - minute, seen(60));
  ledger.reacted(2, now, seen(60));
  assert.equal(strength(), 'once');
  ledger.reacted(3, now, seen(60));
  assert.equal(strength(), 'twice', 'it is here; what was more than ten minutes ago does not count');
  const fresh = createLedger();
  fresh.silent(now);
  for (const poke of [1, 2]) fresh.reacted(poke, now, seen(60));
  assert.equal(fresh.evidence(among(60)).reactions.get(60), 'once', 'two are too few beside a doubt');
});

test('the next process with the pid of one that reacted has not reacted', () => {
  const ledger = createLedger();
  ledger.reacted(1, 0, seen(60, 'earlier'));
  assert.equal(ledger.evidence(among(60)).reactions.size, 0);
});

test('whoever has started one poller, which has ended, does not poll; with a second one after it that is said', () => {
  const ledger = createLedger();
  ledger.reacted(1, 0, seen(60));
  assert.equal(ledger.evidence(among(50)).reactions.size, 0);
  ledger.reacted(2, 7, seen(61));
  const { reactions, byChildren } = ledger.evidence(among(50));
  assert.deepEqual([...reactions], [[50, 'twice']]);
  assert.deepEqual([...byChildren], [[50, 7]]);
});

test('as long as they live, children answer for themselves', () => {
  const ledger = createLedger();
  ledger.reacted(1, 0, seen(60));
  ledger.reacted(2, 0, seen(61));
  const { reactions, byChildren } = ledger.evidence(among(50, 60, 61));
  assert.deepEqual([...reactions.keys()], [60, 61]);
  assert.equal(byChildren.size, 0);
});

test('of one program a later run answers for those before it, one that ran beside them does not', () => {
  const program = 'python3 bot.py';
  const run = (pid: number): Seen => {
    const it = seen(pid);
    return { ...it, client: { ...it.client, owner: { ...it.client.owner!, program } } };
  };
  const ledger = createLedger();
  ledger.reacted(1, 65, run(60));
  ledger.reacted(2, 65, run(60));
  const judged = (...alive: readonly number[]) => {
    ledger.connected(alive.map((pid) => run(pid).client));
    return [...ledger.evidence(among(...alive)).reactions.keys()];
  };
  assert.deepEqual(judged(60, 61, 70), [60], 'it answers for itself while it runs');
  assert.deepEqual(judged(61, 70), [70], 'the other one began before we asked');
});
