// Medians and pair-by-pair ratios. The machine is never quiet: two numbers are only compared when they were taken one right
// after the other, in turns.

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** The value that `share` (0 to 1) of all are below. */
export const percentile = (values, share) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];

/**
 * Runs the contestants in turns and returns their values by name. A first round is thrown away (cold caches), and the order
 * turns round each time, so that nobody always comes after the same one.
 * `contestants`: name → () => number (or a promise of one).
 */
export async function inTurns(rounds, contestants, { warmUp = true } = {}) {
  const names = Object.keys(contestants);
  const values = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = warmUp ? -1 : 0; round < rounds; round++) {
    const order = round % 2 === 0 ? names : names.toReversed();
    for (const name of order) {
      const value = await contestants[name]();
      if (round >= 0) values[name].push(value);
    }
  }
  return values;
}

const combine = (left, right, how) => left.map((value, i) => how(value, right[i]));

/**
 * One line of the table. `ours`, `theirs`: values taken in turns. `promise` (may be left out): `{ text, of, max }`, where
 * `of` says which median must not exceed `max`: 'ours', 'ratio' or 'difference'; or, where more is better, `{ text, of, min }`.
 */
export function line({ row, what, unit, ours, against = null, theirs = null, promise = null, note = null }) {
  const best = promise?.min === undefined ? Math.min : Math.max;
  const ratio = theirs ? combine(ours, theirs, (a, b) => a / b) : null;
  const difference = theirs ? combine(ours, theirs, (a, b) => a - b) : null;
  const judged = promise && { ours, ratio, difference }[promise.of];
  return {
    row,
    what,
    unit,
    ours: median(ours),
    against,
    theirs: theirs && median(theirs),
    ratio: ratio && {
      median: median(ratio),
      min: Math.min(...ratio),
      max: Math.max(...ratio),
      // Best against best: what a quiet machine would show.
      best: best(...ours) / best(...theirs),
    },
    difference: difference && median(difference),
    rounds: ours.length,
    promise: promise?.text ?? null,
    kept: judged ? isKept(median(judged), promise) : null,
    note,
    values: { ours, theirs },
  };
}

const isKept = (value, { min = -Infinity, max = Infinity }) => value >= min && value <= max;

export const atMostTimes = (max) => ({ text: `≤ ${max} ×`, of: 'ratio', max });
export const atMost = (max, unit) => ({ text: `≤ ${max} ${unit}`, of: 'ours', max });
export const atMostMore = (max, unit) => ({ text: `≤ ${max} ${unit} more`, of: 'difference', max });
/** More is better. */
export const atLeastTimes = (min) => ({ text: `≥ ${min} ×`, of: 'ratio', min });

const number = (value, unit) => {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}`;
};

const verdict = (kept) => (kept === null ? '' : kept ? 'kept' : 'BROKEN');

/** The results as lines of text. */
export function table(lines) {
  const rows = [
    ['', 'measured', 'singlepoll', 'against', '', 'ratio (range)', 'best/best', 'promise', ''],
    ...lines.map((it) => [
      it.row,
      it.what,
      number(it.ours, it.unit),
      it.against ?? '',
      it.theirs === null ? '' : number(it.theirs, it.unit),
      it.ratio === null
        ? ''
        : `${it.ratio.median.toFixed(2)} (${it.ratio.min.toFixed(2)}–${it.ratio.max.toFixed(2)})`,
      it.ratio === null ? '' : it.ratio.best.toFixed(2),
      it.promise ?? '',
      verdict(it.kept),
    ]),
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const numeric = new Set([2, 4, 6]);
  const text = rows.map((row) =>
    row
      .map((cell, column) =>
        numeric.has(column) ? cell.padStart(widths[column]) : cell.padEnd(widths[column]),
      )
      .join('  ')
      .trimEnd(),
  );
  const notes = lines.filter((it) => it.note !== null).map((it) => `${it.row}: ${it.note}`);
  return [...text, ...(notes.length > 0 ? ['', ...new Set(notes)] : [])];
}
