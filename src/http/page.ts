/**
 * `/`: what `status` shows, for platforms where a browser is all one has. One document without scripts and without anything from
 * elsewhere; every text in it is escaped, and the policy would let nothing else run. Pure.
 */
import { createHash } from 'node:crypto';
import type { StatusDocument } from '../core/status.ts';
import { plain } from '../output/plain.ts';
import { botName, rowText, STATE_WORDS, type StatusRow, statusRows } from '../output/screen.ts';
import { count } from '../output/words.ts';

export interface PageOptions {
  /** Wall clock. */
  readonly nowMs: number;
  /** False: the reader has asked for a page that stands still. */
  readonly refreshes: boolean;
}

/** How often the page loads itself again. */
export const REFRESH_S = 5;

const TEXT_MAX = 2_000;
/** A tree of thousands of processes must not become a page of megabytes. */
const LINES_MAX = 40;

type Tone = 'good' | 'calm' | 'bad';

const STYLE = `
:root{color-scheme:light dark;--back:#f6f7f9;--card:#fff;--text:#1c2430;--soft:#5a6675;--line:#dfe3e8;--good:#1a7f45;--calm:#2563b8;--bad:#c02b2b;--wash:#fdeeee}
@media(prefers-color-scheme:dark){:root{--back:#12161c;--card:#1a2029;--text:#e4e9ef;--soft:#9aa7b6;--line:#2c3541;--good:#4cc282;--calm:#79b0f5;--bad:#ff8078;--wash:#2f1c1f}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:56rem;margin:0 auto;padding:1.5rem 1rem 2.5rem}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.25rem .75rem;margin-bottom:1.25rem}
h1{font-size:1.35rem;line-height:1.25;margin:0;overflow-wrap:anywhere}
.state{font-weight:600}
.state::before{content:"";display:inline-block;width:.7em;height:.7em;margin-right:.45em;border-radius:50%;background:currentColor}
.good{color:var(--good)}.calm{color:var(--calm)}.bad{color:var(--bad)}
.problems{list-style:none;margin:0 0 1.25rem;padding:0}
.problems li{background:var(--wash);border-left:4px solid var(--bad);border-radius:4px;padding:.7rem 1rem;margin-bottom:.6rem;overflow-wrap:anywhere}
.problems strong{display:block;font-weight:600}
.hint{color:var(--soft);white-space:pre-wrap}
dl{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px}
dl>div{display:grid;grid-template-columns:8rem minmax(0,1fr);gap:0 1rem;padding:.65rem 1rem}
dl>div+div{border-top:1px solid var(--line)}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere;white-space:pre-wrap}
.rest{color:var(--soft);font:.875rem/1.6 ui-monospace,Menlo,Consolas,monospace}
footer{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin-top:1rem;color:var(--soft);font-size:.875rem}
a{color:inherit}
@media(max-width:32rem){main{padding-top:1rem}dl>div{grid-template-columns:1fr}dt{font-size:.8125rem}}
`;

/** Nothing but the style below, by its hash, and the icon, which stands in the page. */
export const PAGE_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const ICON_COLOURS: Readonly<Record<Tone, string>> = { good: '1a7f45', calm: '2563b8', bad: 'c02b2b' };

export function statusPage(doc: StatusDocument, { nowMs, refreshes }: PageOptions): string {
  const name = botName(doc);
  const state = STATE_WORDS[doc.state];
  const tone = toneOf(doc);
  const again = refreshes ? `\n<meta http-equiv="refresh" content="${REFRESH_S}">` : '';
  const number = doc.problems.length === 0 ? '' : `${count(doc.problems.length, 'problem')}, `;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">${again}
<title>${escaped(`${number}${state} · ${name}`)}</title>
<link rel="icon" href="${icon(tone)}">
<style>${STYLE}</style>
</head>
<body>
<main>
<header>
<h1>${escaped(name)}</h1>
<span class="state ${tone}">${escaped(state)}</span>
</header>
${problems(doc)}<dl>
${rowsOf(doc, nowMs).join('\n')}
</dl>
<footer>
<span>as of ${utc(nowMs)}</span>
${
  refreshes
    ? `<span>refreshes every ${REFRESH_S} s</span> <a href="?refresh=off">pause</a>`
    : '<span>paused</span> <a href="./">refresh again</a>'
}
<a href="metrics">metrics</a>
</footer>
</main>
</body>
</html>
`;
}

function toneOf({ healthy, state }: StatusDocument): Tone {
  if (!healthy) return 'bad';
  return state === 'polling' ? 'good' : 'calm';
}

function problems({ problems }: StatusDocument): string {
  if (problems.length === 0) return '';
  const items = problems.map(({ message, hint }) => {
    const cure = hint ? `\n<span class="hint">→ ${escaped(hint)}</span>` : '';
    return `<li><strong>${escaped(message)}</strong>${cure}</li>`;
  });
  return `<ul class="problems" aria-label="problems">\n${items.join('\n')}\n</ul>\n`;
}

function rowsOf(doc: StatusDocument, nowMs: number): string[] {
  const rows = statusRows(doc, nowMs).map(entry);
  if (rows.length <= LINES_MAX) return rows;
  const more = `and ${rows.length - LINES_MAX} more; singlepoll status shows them`;
  return [...rows.slice(0, LINES_MAX), `<div><dt></dt><dd>${more}</dd></div>`];
}

function entry(row: StatusRow): string {
  const lines = row.rest.slice(0, LINES_MAX).map(escaped).join('\n');
  const more = lines === '' ? '' : `<div class="rest">${lines}</div>`;
  return `<div><dt>${escaped(row.label)}</dt><dd>${escaped(rowText(row))}${more}</dd></div>`;
}

function icon(tone: Tone): string {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="#${ICON_COLOURS[tone]}"/></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

/** `2026-11-21 09:12:31 UTC`. */
function utc(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Whatever a process, a bot or another machine calls itself: text, and nothing else. */
function escaped(text: string): string {
  return plain(text, TEXT_MAX).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
