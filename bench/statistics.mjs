// Medians and pair-by-pair ratios. The machine is never quiet: two numbers are only compared when they were taken one right
// after the other, in turns.

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/**
 * Runs the contestants in turns and returns their values by name. A first round is thrown away (cold caches), and the order
 * turns round each time, so that nobody always comes after the same one.
 * `contestants`: name → () => number (or a promise of one).
 */
export async function inTurns(rounds, contestants) {
  const names = Object.keys(contestants);
  const values = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = -1; round < rounds; round++) {
    const order = round % 2 === 0 ? names : names.toReversed();
    for (const name of order) {
      const value = await contestants[name]();
      if (round >= 0) values[name].push(value);
    }
  }
  return values;
}

/**
 * One line of the table, from what a row gives. `ours`, `theirs`: values taken in turns. `promise` (may be left out): `{ text, of, max }`, where
 * `of` says which median must not exceed `max`: 'ours', 'ratio' or 'difference'; or, where more is better, `{ text, of, min }`.
 */
export function line({ row, what, unit, ours, against = null, theirs = null, promise = null }) {
  const combine = (how) => theirs && ours.map((value, i) => how(value, theirs[i]));
  const [ratio, difference] = [combine((a, b) => a / b), combine((a, b) => a - b)];
  const judged = promise && median({ ours, ratio, difference }[promise.of]);
  return {
    ...{ row, what, unit, against },
    ours: median(ours),
    theirs: theirs && median(theirs),
    ratio: ratio && { median: median(ratio), min: Math.min(...ratio), max: Math.max(...ratio) },
    difference: difference && median(difference),
    rounds: ours.length,
    promise: promise?.text ?? null,
    kept: promise && judged >= (promise.min ?? -Infinity) && judged <= (promise.max ?? Infinity),
    values: { ours, theirs },
  };
}

export const atMostTimes = (max) => ({ text: `≤ ${max} ×`, of: 'ratio', max });
export const atMost = (max, unit) => ({ text: `≤ ${max} ${unit}`, of: 'ours', max });
export const atMostMore = (max, unit) => ({ text: `≤ ${max} ${unit} more`, of: 'difference', max });
/** More is better. */
export const atLeastTimes = (min) => ({ text: `≥ ${min} ×`, of: 'ratio', min });

/** The results as a table of text. */
export function table(lines) {
  const number = (value, unit) => `${Number(value.toPrecision(3))} ${unit}`;
  const rows = lines.map(({ row, what, unit, ours, against, theirs, ratio, promise, kept }) => [
    ...[row, what, number(ours, unit), against ?? '', theirs === null ? '' : number(theirs, unit)],
    ratio ? `${ratio.median.toFixed(2)} (${ratio.min.toFixed(2)}–${ratio.max.toFixed(2)})` : '',
    ...[promise ?? '', kept === null ? '' : kept ? 'kept' : 'BROKEN'],
  ]);
  rows.unshift(['', 'measured', 'singlepoll', 'against', '', 'ratio (range)', 'promise', '']);
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const padded = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column])));
  return padded.map((cells) => cells.join('  ').trimEnd());
}
