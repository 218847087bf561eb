/**
 * Finds the connections that reacted to our getUpdates, and collects what that shows of each process; grade.ts decides what it proves. PURE.
 *
 * The Bot API keeps the newest long poll of a bot and answers the older one with 409, at once, or 3.0 s later if it sent another 409
 * within the last 3 s (tdlib/telegram-bot-api Client::fail_query_conflict). So a client socket whose request was held before our poll, and
 * which receives an answer in one of these two windows, belongs to a poller of this bot, if the answer is as long as a 409, or comes at each
 * of our polls. The kernel tells when data came last, so a listing that is late under load does no harm.
 */
import type { ProcessId } from '../machine/procfs.ts';
import type { TcpSocket } from '../machine/sockets.ts';
import type { Evidence } from './grade.ts';
import { identityOf } from './process.ts';

export interface Counters
  extends Pick<TcpSocket, 'bytesSent' | 'bytesReceived' | 'lastSendMs' | 'lastReceiveMs' | 'minRttMs'> {
  /** The connection has been destroyed; these are its last counters. */
  readonly isGone?: boolean;
}

/** One listing of connections, by the observer's key. */
export interface Sample {
  /** Monotonic time right after the listing, in ms. */
  readonly atMs: number;
  readonly sockets: ReadonlyMap<string, Counters>;
}

/** One getUpdates that was sent. */
export interface Poke {
  readonly sentAtMs: number;
  /** When the last call was sent that the Bot API answered before the poke. */
  readonly pingedAtMs: number;
  /** Usual answer time of the Bot API, in ms. */
  readonly rttMs: number;
  /** The longest time that a listing of connections took before it, in ms. Where that is slow, a server of this machine is slow, too. */
  readonly listingMs: number;
  /** Length of a 409 on the wire, headers included, in bytes; null if unknown. */
  readonly conflictBytes: number | null;
}

export interface Reaction {
  readonly socket: string;
  /** Bytes received; null if the connection vanished and its last counters were not seen. */
  readonly bytes: number | null;
  /** The answer is as long as a 409. */
  readonly isConflict: boolean;
  /** The answer is longer than any 409: it answers something else. */
  readonly isTooLong: boolean;
  /** This may be the answer to a message: the next request may have preceded it, or the server may have been slow. */
  readonly isUnclear: boolean;
}

/** A request that has waited this long is held by the server: messages and uploads are answered sooner. */
const HELD_MS = 500;
/** Minimum wait for an answer as long as a 409: pollers that take turns hold the poll only for moments. */
export const HELD_LEAST_MS = 150;
/** A message is answered within this many round trips, or this many times a listing's time. */
const HELD_TIMES = 4;
/** By how much the server's answer may exceed its usual time: by this, and by the time of a listing up to the second one. */
const WINDOW_MS = 100;
const SLOWER_MS = 200;
/** The server's delay of a second 409 (tdlib/telegram-bot-api: FailQueryConflictSleepActor). */
const CONFLICT_HELD_BACK_MS = 3_000;
/** Allowance for kernel ticks and the time that a listing takes. */
const TOLERANCE_MS = 25;
/** By how much a 409 may be shorter (`Connection: close`) or longer (TLS records, one more header), below the shortest update. */
const SHORTER_BYTES = 24;
const LONGER_BYTES = 56;
/** Least length of a 409: its body has 143 bytes, compressed some 120. */
const LEAST_BYTES = 100;
/** From this round trip on, an answer can't come within the same kernel tick (10 ms at most) as its request. */
const ONE_TICK_MS = 12;
/** How many unclear reactions must agree: a sender would have to send in each of these short windows and never outside. */
const UNCLEAR_TIMES = 3;
/** How many clear ones must agree once something speaks against them. */
const DOUBTED_TIMES = 3;
/** By how many bytes two 409s for one poller may differ: a digit of a number, a TLS record. */
const AGREE_BYTES = 16;

/** When a 409 can come: [from, to] in ms after the poke. */
export function windowsOf({ rttMs, listingMs }: Pick<Poke, 'rttMs' | 'listingMs'>) {
  const lastMs = 2 * rttMs + WINDOW_MS + Math.min(listingMs, SLOWER_MS);
  return [
    [0, lastMs],
    [CONFLICT_HELD_BACK_MS, CONFLICT_HELD_BACK_MS + lastMs],
  ] as const;
}

/** End of the second window, after which no reaction to this poke is possible. Monotonic, in ms. */
export function endOfWindows(poke: Poke): number {
  return poke.sentAtMs + windowsOf(poke)[1][1] + TOLERANCE_MS;
}

/** How long a request must have waited, in ms, to be a held poll for certain: a message is answered sooner. */
export const heldForMs = ({ rttMs, listingMs }: Pick<Poke, 'rttMs' | 'listingMs'>) =>
  Math.max(HELD_LEAST_MS, HELD_TIMES * rttMs, HELD_TIMES * listingMs);

/** True: a request has been unanswered for at least this long. */
export function isHeld({ bytesSent, lastSendMs, lastReceiveMs, bytesReceived }: Counters, forMs = HELD_MS) {
  return bytesSent > 0 && lastSendMs >= forMs && (bytesReceived === 0 || lastSendMs <= lastReceiveMs);
}

/** Within one kernel tick the order is unknown, and a server nearby answers a message as quickly: a request may wait here, or none. */
function mayBeIdle({ minRttMs, bytesReceived, lastSendMs, lastReceiveMs }: Counters): boolean {
  return minRttMs < ONE_TICK_MS && bytesReceived > 0 && lastSendMs === lastReceiveMs;
}

/**
 * Finds the reactions in `samples` (in order of time). Compares with the last sample before the poke; a connection that is
 * missing there, or whose request was not held then, never counts.
 */
export function reactionsTo(poke: Poke, samples: readonly Sample[]): Reaction[] {
  const before = samples.filter((it) => it.atMs <= poke.sentAtMs).at(-1);
  if (!before) return [];
  const after = samples.filter((it) => it.atMs > poke.sentAtMs);
  const found: Reaction[] = [];
  for (const [socket, base] of before.sockets) {
    if (!isHeld(base, heldForMs({ rttMs: poke.rttMs, listingMs: 0 }))) continue;
    const reaction = reactionOf(socket, base, poke, after);
    if (!reaction || (!reaction.isConflict && !isHeld(base))) continue;
    // A slow server may answer a message as late, so a shorter wait does not show that a poll is held.
    const isHeldLong = isHeld(base, heldForMs(poke));
    // A server that stands still answers nobody. This one has answered a later call of ours by then: what still waits is held.
    const isOvertaken =
      before.atMs - base.lastSendMs < poke.pingedAtMs - TOLERANCE_MS &&
      poke.pingedAtMs + poke.rttMs <= before.atMs;
    // Of a connection that vanished the length of its answer is not known, and may be that of a 409.
    const isOther = !reaction.isConflict && reaction.bytes !== null;
    const isUnclear = reaction.isUnclear || !isHeldLong || (isOther && !isOvertaken);
    found.push({ ...reaction, isUnclear });
  }
  return found;
}

function reactionOf(socket: string, base: Counters, poke: Poke, after: readonly Sample[]): Reaction | null {
  let isUnclear = false;
  let bytes: number | null = null;
  for (const [index, sample] of after.entries()) {
    const now = sample.sockets.get(socket);
    if (!now) {
      // The connection vanished between two listings, and its last counters are unknown.
      const fromMs = (after[index - 1]?.atMs ?? poke.sentAtMs) - poke.sentAtMs;
      return isInWindow(poke, fromMs) || isInWindow(poke, sample.atMs - poke.sentAtMs)
        ? judged(socket, bytes, isUnclear || mayBeIdle(base), poke)
        : null;
    }
    const received = now.bytesReceived - base.bytesReceived;
    if (received <= 0) {
      // A client that sends its next request before the answer does not wait for polls.
      if (now.bytesSent > base.bytesSent) return null;
      if (!now.isGone) continue;
    }
    if (bytes === null) {
      // Only an answer that precedes the next request answers the request that was held.
      isUnclear = mayBeIdle(base) && now.bytesSent > base.bytesSent;
      const atMs = sample.atMs - now.lastReceiveMs - poke.sentAtMs;
      if (!isInWindow(poke, now.isGone && received <= 0 ? sample.atMs - poke.sentAtMs : atMs)) return null;
    }
    bytes = Math.max(bytes ?? 0, received);
    // The answer is complete: the next request followed, the connection ended, or it has the length of a 409.
    if (now.bytesSent > base.bytesSent || now.isGone) break;
  }
  return bytes === null ? null : judged(socket, bytes, isUnclear, poke);
}

/**
 * The connections that our poll has not ended: their request still waits after the last moment for its 409, or it had waited for longer than
 * any 409 is held back and was answered between the two windows. What waits there is no poll of this bot. Empty where it was not watched to the end.
 */
export function unmovedBy(poke: Poke, samples: readonly Sample[]): string[] {
  const before = samples.filter((it) => it.atMs <= poke.sentAtMs).at(-1);
  if (!before || samples.at(-1)!.atMs < endOfWindows(poke)) return [];
  const after = samples.filter((it) => it.atMs > poke.sentAtMs);
  const [[, firstEndMs], [secondMs, secondEndMs]] = windowsOf(poke);
  return [...before.sockets].flatMap(([socket, base]) => {
    if (!isHeld(base)) return [];
    const changed = after.find(({ sockets }) => {
      const now = sockets.get(socket);
      return now?.bytesReceived !== base.bytesReceived || now.bytesSent !== base.bytesSent || now.isGone;
    });
    const now = changed?.sockets.get(socket);
    if (!changed) return socket;
    if (!now || now.isGone || base.lastSendMs < secondEndMs) return [];
    const ms = changed.atMs - now.lastReceiveMs - poke.sentAtMs;
    return ms > firstEndMs + TOLERANCE_MS && ms < secondMs - TOLERANCE_MS ? socket : [];
  });
}

function isInWindow(poke: Poke, ms: number): boolean {
  return windowsOf(poke).some(([from, to]) => ms >= from - TOLERANCE_MS && ms <= to + TOLERANCE_MS);
}

function judged(socket: string, bytes: number | null, isUnclear: boolean, { conflictBytes }: Poke): Reaction {
  const isConflict =
    bytes !== null &&
    conflictBytes !== null &&
    bytes >= conflictBytes - SHORTER_BYTES &&
    bytes <= conflictBytes + LONGER_BYTES;
  const isTooLong = bytes !== null && conflictBytes !== null && bytes > conflictBytes + LONGER_BYTES;
  return { socket, bytes, isConflict, isTooLong, isUnclear };
}

/** `once`: one answer as long as a 409. `twice`: two answers to different polls that agree. */
type Strength = 'once' | 'twice';

/**
 * Says what the reactions of one process to different pokes prove; null: nothing yet. Two counts weaken them, because a poller of another bot
 * that has a rival of its own may get its 409s by chance when we poll: `unmoved` is how many pokes did not end its request; `silent` is how
 * many pokes after a 409 ended no request on this machine, which shows that the rival is elsewhere.
 */
export function strengthOf(
  reactions: readonly { readonly poke: number; readonly reaction: Reaction }[],
  { unmoved = 0, silent = 0 } = {},
): Strength | null {
  const answers = reactions.filter(
    ({ reaction: { bytes, isTooLong } }) => !isTooLong && (bytes === null || bytes >= LEAST_BYTES),
  );
  for (const one of answers) {
    const agreeing = answers.filter(({ reaction }) => agree(reaction, one.reaction));
    const clear = new Set(agreeing.filter(({ reaction }) => !reaction.isUnclear).map(({ poke }) => poke));
    const all = new Set(agreeing.map(({ poke }) => poke));
    if (all.size <= Math.max(unmoved, silent)) continue;
    if (
      clear.size >= (unmoved + silent > 0 ? DOUBTED_TIMES : 2) ||
      (all.size >= UNCLEAR_TIMES && one.reaction.isConflict)
    )
      return 'twice';
  }
  const isSeen = answers.some(({ reaction }) => reaction.isConflict && !reaction.isUnclear);
  return isSeen && unmoved === 0 ? 'once' : null;
}

function agree({ bytes: a }: Reaction, { bytes: b }: Reaction): boolean {
  return a === null || b === null ? a === b : Math.abs(a - b) <= AGREE_BYTES;
}

/** The process that holds a connection. Its parent counts for programs that start a new process for each poll. */
export interface Owner extends ProcessId {
  readonly parent: ProcessId | null;
  /** Equal for all runs of one command line under one parent; null if the command line can't be seen. */
  readonly program: string | null;
}

/** Another process's connection to the API root. */
export interface Client {
  /** Identifies the connection in each listing: network namespace, local and remote address. */
  readonly key: string;
  readonly uid: number;
  readonly cgroup: string | null;
  /** The process that holds it; null if it can't be seen from here. */
  readonly owner: Owner | null;
  /** The API root holds a request of this connection now. */
  readonly isHeld: boolean;
}

export interface Seen {
  readonly client: Client;
  readonly reaction: Reaction;
  /** The same process holds another request at the API root: it may poll a second bot. */
  readonly holdsAnother: boolean;
}

/** Whose connection reacted, and whose process can't be seen from here. */
export interface Unseen {
  readonly uid: number;
  readonly cgroup: string | null;
  /** It has reacted to two polls as a poller of this bot does: one reaction may be chance. */
  readonly isProven: boolean;
}

type Noted = Seen & { readonly poke: number; readonly pokedAtTicks: number };

interface Account {
  readonly owner: ProcessId;
  /** The processes that reacted, by name, with the last poke; for a parent, its children. */
  readonly processes: Map<string, ProcessId & { readonly pokedAtTicks: number }>;
  readonly entries: { readonly poke: number; readonly pokedAtTicks: number; reaction: Reaction }[];
  holdsAnother: boolean;
  unmoved: number;
}

const ACCOUNTS_MAX = 1_000;
const ENTRIES_MAX = 100;
/** Polls longer ago say nothing of who takes the poll now, in clock ticks: 10 minutes. */
const RECENT_TICKS = 60_000;

export function createLedger() {
  const accounts = new Map<string, Account>();
  /** The reactions of one parent's children: a shell that polls with one curl after another has a new process for each. */
  const parents = new Map<string, Account>();
  /** The reactions of one program in all its runs: one that ends at each 409 and is restarted reacts once in each run. */
  const programs = new Map<string, Account>();
  /** The reactions of those that can't be seen from here, by user and cgroup. */
  const unseen = new Map<string, Omit<Unseen, 'isProven'> & Pick<Account, 'entries'>>();
  /** When polls that followed a 409 were seen to make nobody here react. */
  let silent: readonly number[] = [];
  let connected: readonly Owner[] = [];
  let noted = 0;

  /** Opens the accounts to which a process's reactions belong: its own, its parent's and its program's. */
  function accountsOf(owner: Owner): Account[] {
    const { parent, program } = owner;
    const open = (book: Map<string, Account>, key: string, its: ProcessId): Account => {
      const fresh: Account = {
        owner: its,
        processes: new Map(),
        entries: [],
        holdsAnother: false,
        unmoved: 0,
      };
      const account = book.get(key) ?? fresh;
      if (book.size > ACCOUNTS_MAX) book.clear();
      book.set(key, account);
      return account;
    };
    return [
      open(accounts, identityOf(owner), owner),
      ...(parent ? [open(parents, identityOf(parent), parent)] : []),
      ...(program === null ? [] : [open(programs, program, owner)]),
    ];
  }

  function judge({ entries, unmoved }: Pick<Account, 'entries' | 'unmoved'>): Strength | null {
    const sinceTicks = Math.max(...entries.map((it) => it.pokedAtTicks), ...silent) - RECENT_TICKS;
    const isRecent = (atTicks: number) => atTicks >= sinceTicks;
    const recent = entries.filter((it) => isRecent(it.pokedAtTicks));
    return strengthOf(recent, { unmoved, silent: silent.filter(isRecent).length });
  }

  /** Leaves out those that only got what is longer than any 409, as that answers something else. */
  function listUnseen(): readonly Unseen[] {
    return [...unseen.values()]
      .filter(({ entries }) => entries.some(({ reaction }) => !reaction.isTooLong))
      .map(({ uid, cgroup, entries }) => ({
        uid,
        cgroup,
        isProven: judge({ entries, unmoved: 0 }) === 'twice',
      }));
  }

  function enter(entries: Account['entries'], { poke, pokedAtTicks, client, reaction }: Noted): void {
    const known = entries.find((it) => it.poke === poke && it.reaction.socket === client.key);
    // This is the rest of the same answer.
    if (known) known.reaction = reaction;
    else entries.push({ poke, pokedAtTicks, reaction });
    if (entries.length > ENTRIES_MAX) entries.shift();
  }

  return {
    connected(clients: readonly Client[]) {
      connected = clients.flatMap(({ owner }) => owner ?? []);
    },
    connectedPids: () => connected.map(({ pid }) => pid),
    /** `poke` is the number of our poll, `pokedAtTicks` when it was sent, in the unit of start times. */
    reacted(poke: number, pokedAtTicks: number, seen: Seen): void {
      const { owner, uid, cgroup } = seen.client;
      const it = { ...seen, poke, pokedAtTicks };
      noted += 1;
      if (!owner) {
        const key = `${uid} ${cgroup}`;
        const known = unseen.get(key) ?? { uid, cgroup, entries: [] };
        unseen.set(key, known);
        return void enter(known.entries, it);
      }
      for (const account of accountsOf(owner)) {
        account.processes.set(identityOf(owner), { ...owner, pokedAtTicks });
        account.holdsAnother ||= seen.holdsAnother;
        enter(account.entries, it);
      }
    },
    /** To be called before the questions of a start, since nothing tells whether these processes still live. */
    forgetUnseen: (): void => unseen.clear(),
    /** A poll that followed a 409 was watched to its end, and nobody here reacted. */
    silent(atTicks: number): void {
      silent = [...silent.slice(1 - ENTRIES_MAX), atTicks];
    },
    /** A poll of ours left alone the one request of this process. */
    unmoved(owner: Owner): void {
      for (const account of accountsOf(owner)) account.unmoved += 1;
    },
    /** `isAlive` must compare the start time, too. */
    evidence(isAlive: (process: ProcessId) => boolean): Evidence {
      const reactions = new Map<number, Strength>();
      const holdsAnother = new Set<number>();
      const byChildren = new Map<number, number>();
      // A process that ran beside one that reacted, and did not react itself, may poll another bot: its token can differ unseen.
      const isLaterRun = (owner: ProcessId, { processes }: Account) =>
        [...processes.values()].every(
          (it) =>
            identityOf(it) === identityOf(owner) ||
            (!isAlive(it) && Number(owner.startId) >= it.pokedAtTicks),
        );
      const put = (account: Account, pid = account.owner.pid) => {
        const strength = judge(account);
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
        byChildren.set(owner.pid, Math.max(...[...processes.values()].map((it) => it.pokedAtTicks)));
      }
      const living = connected.filter(isAlive);
      for (const owner of living) {
        const account = owner.program === null ? undefined : programs.get(owner.program);
        if (account && isLaterRun(owner, account)) put(account, owner.pid);
      }
      return { connected: new Set(living.map(({ pid }) => pid)), reactions, holdsAnother, byChildren };
    },
    /** Somebody who lives, or can't be seen, has reacted, but that is no full proof yet. */
    isOpen: (isAlive: (process: ProcessId) => boolean) =>
      [...accounts.values()].some(
        (account) =>
          account.entries.length > account.unmoved && isAlive(account.owner) && judge(account) !== 'twice',
      ) || listUnseen().some(({ isProven }) => !isProven),
    unseen: listUnseen,
    count: () => noted,
  };
}
