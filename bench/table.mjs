// The results as one table.

const number = (value, unit) => {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}`;
};

const verdict = (kept) => (kept === null ? '' : kept ? 'kept' : 'BROKEN');

/** Lines of text; `lines` are of `line` in statistics.mjs. */
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
