/**
 * "Did you mean": the known name closest to a mistyped one. Spelling differences of style (stop-timeout, stop_timeout,
 * StopTimeout) count as nothing.
 */

/** The closest of `known`, or null where none is close enough to be what was meant. */
export function suggest(mistyped: string, known: readonly string[]): string | null {
  const wanted = plain(mistyped);
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const name of known) {
    const distance = editDistance(wanted, plain(name), bestDistance);
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

function plain(name: string): string {
  return name
    .slice(0, 64)
    .replace(/[-_\s]/g, '')
    .toLowerCase();
}

/** Insertions, deletions, replacements and swaps of neighbours between two words; `cap` where it is that many or more. */
function editDistance(a: string, b: string, cap: number): number {
  if (Math.abs(a.length - b.length) >= cap) return cap;
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let cost = Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + (same ? 0 : 1));
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        cost = Math.min(cost, beforeLast[column - 2]! + 1);
      }
      current.push(cost);
    }
    beforeLast = last;
    last = current;
  }
  return Math.min(last[b.length]!, cap);
}
