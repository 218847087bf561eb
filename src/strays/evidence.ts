/** Collects what our polls have shown of each process. grade.ts decides what it proves. */
import type { Evidence } from './grade.ts';
import type { Client, Owner, Seen } from './observer.ts';
import { type Reaction, type Strength, strengthOf } from './reactions.ts';

/** A reaction of a process that can't be seen from here. */
export interface Unseen {
  readonly uid: number;
  readonly cgroup: string | null;
}

type Identity = Pick<Owner, 'pid' | 'startId'>;

interface Account {
  readonly owner: Identity;
  /** The processes that reacted, by name; for a parent, its children. */
  readonly processes: Map<string, Identity>;
  readonly entries: { readonly poke: number; reaction: Reaction }[];
  holdsAnother: boolean;
}

const nameOf = ({ pid, startId }: Identity) => `${pid} ${startId}`;
const ACCOUNTS_MAX = 1_000;
const ENTRIES_MAX = 20;

export function createLedger() {
  /** The reactions of each process. */
  const accounts = new Map<string, Account>();
  /** The reactions of one parent's children: a shell that polls with one curl after another has a new process for each. */
  const parents = new Map<string, Account>();
  /** The reactions of one program in all its runs: one that ends at each 409 and is restarted reacts once in each run. */
  const programs = new Map<string, Account>();
  const unseen = new Map<string, Unseen>();
  let connected: readonly Owner[] = [];
  let noted = 0;

  function note(
    book: Map<string, Account>,
    owner: Identity,
    poke: number,
    { client, reaction, holdsAnother }: Seen,
    key = nameOf(owner),
  ): void {
    const fresh: Account = { owner, processes: new Map(), entries: [], holdsAnother: false };
    const account = book.get(key) ?? fresh;
    if (book.size > ACCOUNTS_MAX) book.clear();
    book.set(key, account);
    account.processes.set(nameOf(client.owner!), client.owner!);
    account.holdsAnother ||= holdsAnother;
    const known = account.entries.find((it) => it.poke === poke && it.reaction.socket === client.key);
    // This is the rest of the same answer.
    if (known) known.reaction = reaction;
    else account.entries.push({ poke, reaction });
    if (account.entries.length > ENTRIES_MAX) account.entries.shift();
  }

  return {
    connected(clients: readonly Client[]) {
      connected = clients.flatMap(({ owner }) => owner ?? []);
    },
    /** `poke` is the number of our poll. */
    reacted(poke: number, seen: Seen): void {
      const { owner, uid, cgroup } = seen.client;
      noted += 1;
      if (!owner) unseen.set(`${uid} ${cgroup}`, { uid, cgroup });
      else {
        note(accounts, owner, poke, seen);
        if (owner.parent) note(parents, owner.parent, poke, seen);
        if (owner.program !== null) note(programs, owner, poke, seen, owner.program);
      }
    },
    /** `isAlive` must compare the start time, too. */
    evidence(isAlive: (process: Identity) => boolean): Evidence {
      const reactions = new Map<number, Strength>();
      const holdsAnother = new Set<number>();
      const byChildren = new Set<number>();
      const put = (account: Account, pid = account.owner.pid) => {
        const strength = strengthOf(account.entries);
        if (strength === null || reactions.get(pid) === 'twice') return;
        reactions.set(pid, strength);
        if (account.holdsAnother) holdsAnother.add(pid);
      };
      for (const account of accounts.values()) if (isAlive(account.owner)) put(account);
      for (const account of parents.values()) {
        const { owner, processes } = account;
        // One child that polled and ended does not show that its parent polls through children.
        if (processes.size < 2 || !isAlive(owner) || reactions.has(owner.pid)) continue;
        if ([...processes.values()].every(isAlive)) continue;
        put(account);
        byChildren.add(owner.pid);
      }
      const living = connected.filter(isAlive);
      for (const { pid, program } of living) {
        const account = program === null ? undefined : programs.get(program);
        if (account) put(account, pid);
      }
      return { connected: new Set(living.map(({ pid }) => pid)), reactions, holdsAnother, byChildren };
    },
    /** A living process has reacted, but that is no full proof yet. */
    isOpen: (isAlive: (process: Identity) => boolean) =>
      [...accounts.values()].some(({ owner, entries }) => isAlive(owner) && strengthOf(entries) !== 'twice'),
    unseen: (): readonly Unseen[] => [...unseen.values()],
    /** How many reactions were noted so far. */
    count: () => noted,
  };
}
