/**
 * Who holds the lock of a bot, decided from what each of its four names shows. PURE: binding, looking and time are given.
 *
 * A supervisor binds one name and looks at all the others afterwards; it holds the lock when no other name shows a supervisor.
 * Two can't both get there: each would have looked before the other had bound, and each looks after its own bind. So nobody
 * needs to be believed about the order of events; the order of the names only decides who waits and who leaves.
 */

/** What stands behind one of the names. */
export type Shown =
  /** Nobody has bound it. */
  | 'free'
  /** A supervisor that has proven itself and is still looking at the other names. */
  | 'contender'
  /** A supervisor that has proven itself and holds the lock. */
  | 'holder'
  /** Nobody answers: a supervisor that hangs or is stopped looks like this. */
  | 'silent'
  /** A supervisor of a release that can't prove itself. */
  | 'old'
  /** It gave a wrong answer: somebody who only keeps us from the name. */
  | 'liar';

export type Decision =
  | { readonly kind: 'bind'; readonly name: number }
  | { readonly kind: 'hold' }
  /** Somebody is about to hold the lock, or to leave: look again soon. */
  | { readonly kind: 'wait' }
  /** Give the own name back, then look again: a contender with a lower name goes first. */
  | { readonly kind: 'step-back' }
  /** The lock is another's. */
  | { readonly kind: 'yield'; readonly to: number }
  /** Liars have every name. */
  | { readonly kind: 'squatted' };

/** `mine`: the name that is bound by who decides; null: none yet. `shown[mine]` does not count. */
export function decide(mine: number | null, shown: readonly Shown[]): Decision {
  const others = shown.map((what, name) => ({ what, name })).filter(({ name }) => name !== mine);
  const held = others.find(({ what }) => what === 'holder' || what === 'silent' || what === 'old');
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
  /** From now on it answers that it holds the lock. */
  hold(): void;
  release(): void;
}

export interface ElectionPorts<Bound extends Candidate, Look extends { readonly shown: readonly Shown[] }> {
  /** Null: somebody else has the name. */
  bind(name: number): Promise<Bound | null>;
  look(mine: number | null): Promise<Look>;
  /** Until the next look, where somebody is about to hold the lock or to leave. */
  pause(round: number): Promise<void>;
  /** It is not worth while to look again. */
  late(): boolean;
}

export interface Outcome<Bound, Look> {
  /** Null: the lock is another's, or nobody's that could be told in time. */
  readonly held: Bound | null;
  readonly look: Look;
  /** Whom it was left to. */
  readonly to: number | null;
}

/** Tries to take the lock once; waits for nobody who holds it. */
export async function elect<Bound extends Candidate, Look extends { readonly shown: readonly Shown[] }>(
  ports: ElectionPorts<Bound, Look>,
): Promise<Outcome<Bound, Look>> {
  // Nobody else is there in everyday life: bound first, looked afterwards.
  let bound = await ports.bind(0);
  let held = false;
  try {
    for (let round = 0; ; round++) {
      const look = await ports.look(bound?.name ?? null);
      const decision = decide(bound?.name ?? null, look.shown);
      if (decision.kind === 'hold' && bound) {
        bound.hold();
        held = true;
        return { held: bound, look, to: null };
      }
      if (decision.kind === 'yield') return { held: null, look, to: decision.to };
      if (decision.kind === 'squatted' || ports.late()) return { held: null, look, to: null };
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
