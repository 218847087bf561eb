/**
 * Who holds the lock of a bot, decided from what each of its four names shows. PURE.
 *
 * A supervisor binds one name and looks at all the others afterwards; it holds the lock when no other name shows a supervisor.
 * Two can't both get there: each would have looked before the other had bound, and each looks after its own bind. So nobody
 * needs to be believed about the order of events; the order of the names only decides who waits and who leaves.
 */

/** What stands behind one of the names. */
export type Shown =
  /** Nobody has bound it. */
  | 'free'
  /** Bound, and nobody listens there yet: its owner is between bind(2) and listen(2). */
  | 'opening'
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
  const rivals = others.filter(({ what }) => what === 'contender' || what === 'opening');
  if (mine !== null && rivals.some(({ what, name }) => what === 'contender' && name < mine))
    return { kind: 'step-back' };
  if (rivals.length > 0) return { kind: 'wait' };
  if (mine !== null) return { kind: 'hold' };
  const free = others.find(({ what }) => what === 'free');
  return free ? { kind: 'bind', name: free.name } : { kind: 'squatted' };
}
