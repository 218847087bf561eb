/**
 * Decides who holds the lock of a bot, from what each of its four names shows. PURE: binding, looking and time are given.
 *
 * A supervisor binds one name and looks at all the others afterwards; it holds the lock when no other name shows a supervisor.
 * Two can't both hold it: each would have to look before the other had bound, yet each looks after its own bind. So no
 * supervisor has to trust another's word; the order of the names only decides which one waits and which one leaves.
 */

export type Shown =
  | 'free'
  /** A supervisor that has proven itself and is still looking at the other names. */
  | 'contender'
  /** A supervisor that has proven itself and holds the lock. */
  | 'holder'
  /** There is no answer: a supervisor that hangs or is stopped looks like this. */
  | 'silent'
  /** It gave a wrong answer: another program that only blocks the name. */
  | 'liar';

type Decision =
  | { readonly kind: 'bind'; readonly name: number }
  | { readonly kind: 'hold' }
  /** Another supervisor is about to take the lock or to leave: look again soon. */
  | { readonly kind: 'wait' }
  /** Release our name, then look again: a contender with a lower name goes first. */
  | { readonly kind: 'step-back' }
  | { readonly kind: 'yield'; readonly to: number }
  | { readonly kind: 'squatted' };

/** `mine` is the name that we have bound; null: none yet. `seen[mine]` is ignored. */
export function decide(mine: number | null, seen: readonly { readonly shown: Shown }[]): Decision {
  const others = seen.map(({ shown: what }, name) => ({ what, name })).filter(({ name }) => name !== mine);
  const held = others.find(({ what }) => what === 'holder' || what === 'silent');
  if (held) return { kind: 'yield', to: held.name };
  const rivals = others.filter(({ what }) => what === 'contender');
  if (mine !== null && rivals.some(({ name }) => name < mine)) return { kind: 'step-back' };
  if (rivals.length > 0) return { kind: 'wait' };
  if (mine !== null) return { kind: 'hold' };
  const free = others.find(({ what }) => what === 'free');
  return free ? { kind: 'bind', name: free.name } : { kind: 'squatted' };
}

export interface Candidate {
  readonly name: number;
  /** Makes it answer from now on that it holds the lock. */
  hold(): void;
  release(): void;
}

interface Ports<Seen> {
  bind(name: number): Promise<Candidate | null>;
  look(mine: number | null): Promise<readonly Seen[]>;
  /** Waits before the next look, after a decision to wait. */
  pause(round: number): Promise<void>;
  /** True: too much time has passed to look again. */
  late(): boolean;
}

/**
 * Tries to take the lock once, without waiting for its holder to leave. `held` is null where another supervisor holds it, at the name
 * `to`, or where it did not become clear in time who does.
 */
export async function elect<Seen extends { readonly shown: Shown }>(
  ports: Ports<Seen>,
): Promise<{ readonly held: Candidate | null; readonly seen: readonly Seen[]; readonly to: number | null }> {
  // Usually no other supervisor is there, so this binds before it looks.
  let bound = await ports.bind(0);
  let held = false;
  try {
    for (let round = 0; ; round++) {
      const seen = await ports.look(bound?.name ?? null);
      const decision = decide(bound?.name ?? null, seen);
      if (decision.kind === 'hold' && bound) {
        bound.hold();
        held = true;
        return { held: bound, seen, to: null };
      }
      if (decision.kind === 'yield') return { held: null, seen, to: decision.to };
      if (decision.kind === 'squatted' || ports.late()) return { held: null, seen, to: null };
      if (decision.kind === 'bind') bound = await ports.bind(decision.name);
      if (decision.kind === 'step-back') {
        bound?.release();
        bound = null;
      }
      if (decision.kind === 'wait') await ports.pause(round);
    }
  } finally {
    if (!held) bound?.release();
  }
}
