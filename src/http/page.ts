/**
 * `/`: what `status` shows, for platforms that offer only a browser. One document without scripts and external parts; every text
 * in it is escaped, and the content policy forbids anything else. Pure.
 */
import { createHash } from 'node:crypto';
import { clockWords, spanWords, sumWords } from '../output/history-view.ts';
import { plain } from '../output/plain.ts';
import { botName, type StatusRow, stateWords, statusRows } from '../output/status-rows.ts';
import { count, duration } from '../output/words.ts';
import { cellsOf, DAY_MS, type Summary } from '../supervisor/history.ts';
import type { StatusDocument } from '../supervisor/status.ts';

const REFRESH_S = 5;

const TEXT_MAX = 2_000;
/** Limits the page's size, as a tree may have thousands of processes. */
const LINES_MAX = 40;

const DAY_CELLS = 288;
const EVENTS_MAX = 20;

const STYLE = `
:root{color-scheme:light dark;--card:#8881;--soft:#7a8594;--good:#1f9d57;--calm:#3b7ddd;--warn:#c77d0a;--bad:#d64545}
body{margin:0 auto;max-width:56rem;padding:1.5rem 1rem;font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{display:inline;font-size:1.35rem;margin-right:.75rem}
.state{font-weight:600}.state::before{content:"● "}
.good{color:var(--good)}.calm{color:var(--calm)}.bad{color:var(--bad)}
.problems{list-style:none;padding:0}
.problems li{border-left:4px solid var(--bad);background:var(--card);padding:.7rem 1rem;margin:.6rem 0}
.problems strong{display:block}
dl{background:var(--card);border-radius:8px}
dl>div{display:grid;grid-template-columns:8rem minmax(0,1fr);gap:0 1rem;padding:.5rem 1rem}
dd{margin:0;white-space:pre-wrap}
dt,.hint,.rest,footer{color:var(--soft)}.hint{white-space:pre-wrap}.rest{font:.875rem/1.6 ui-monospace,monospace}
a{color:inherit}
section{background:var(--card);border-radius:8px;padding:.75rem 1rem;margin:1rem 0}
svg{display:block;width:100%;height:2rem;border-radius:4px}
rect,b{fill:#8884}.polled{fill:var(--good)}.standby{fill:var(--calm)}.gap,.conflict{fill:var(--bad);color:var(--bad)}
.restart,.outage{fill:var(--warn);color:var(--warn)}b.standby{color:var(--calm)}
.ticks{display:flex;justify-content:space-between;color:var(--soft);font-size:.8rem}
.events{margin:0;padding-left:1.2rem}
@media(max-width:32rem){dl>div{grid-template-columns:1fr}}
`;

/** The policy allows only the style above, by its hash. */
const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');
export const PAGE_POLICY = `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

/** `refreshes`: false if the reader asked for a page that does not reload. */
export function statusPage(
  doc: StatusDocument,
  day: Summary | null,
  nowMs: number,
  refreshes: boolean,
): string {
  const { healthy, problems } = doc;
  const name = escaped(botName(doc));
  const state = escaped(stateWords(doc));
  const tone = healthy ? (doc.state === 'polling' ? 'good' : 'calm') : 'bad';
  const number = problems.length === 0 ? '' : `${count(problems.length, 'problem')}, `;
  const cures = problems.map(({ message, details = [], hint }) => {
    const more = details.length > 0 ? `<div class="rest">${details.map(escaped).join('\n')}</div>` : '';
    const cure = hint ? `\n<span class="hint">→ ${escaped(hint)}</span>` : '';
    return `<li><strong>${escaped(message)}</strong>${more}${cure}</li>\n`;
  });
  const list = `<ul class="problems" aria-label="problems">\n${cures.join('')}</ul>\n`;
  const all = statusRows(doc, nowMs).map(rowHtml);
  const more = `<div><dt></dt><dd>and ${all.length - LINES_MAX} more; singlepoll status shows them</dd></div>`;
  const rows = all.length > LINES_MAX ? [...all.slice(0, LINES_MAX), more] : all;
  const refresh = refreshes ? `<meta http-equiv="refresh" content="${REFRESH_S}">\n` : '';
  const pause = refreshes
    ? `refreshes every ${REFRESH_S} s · <a href="?refresh=off">pause</a>`
    : 'paused · <a href="./">refresh again</a>';
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${refresh}<title>${number}${state} · ${name}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${name}</h1>
<span class="state ${tone}">${state}</span>
${cures.length === 0 ? '' : list}<dl>
${rows.join('\n')}
</dl>
${day ? dayHtml(day) : ''}<footer>as of ${new Date(nowMs).toISOString().slice(0, 19).replace('T', ' ')} UTC ·
${pause} · <a href="metrics">metrics</a></footer>
</body>
</html>
`;
}

/** The worst state of each five minutes, and below it the longest spans, the newest first. */
function dayHtml(day: Summary): string {
  const cells = cellsOf(day.minutes, DAY_CELLS);
  const begins = cells.flatMap((cell, i) => (cell === cells[i - 1] ? [] : [i]));
  const rects = begins.map((x, i) => {
    const width = (begins[i + 1] ?? DAY_CELLS) - x;
    return `<rect class="${cells[x]}" x="${x}" width="${width}" height="1"/>`;
  });
  const at = (part: number) => clockWords(day.untilMs - DAY_MS * part, 'UTC').slice(4, 9);
  const ticks = [1, 0.75, 0.5, 0.25].map((part) => `<span>${at(part)}</span>`).join('');
  const longest = day.spans.slice(0, EVENTS_MAX).sort((a, b) => b.fromMs - a.fromMs);
  const events = longest.map((span) => {
    const begin = `<b class="${span.state}">${span.state} ${duration(span.lastedMs)}</b>`;
    return `<li>${begin} ${escaped(spanWords(span, 'UTC'))}</li>\n`;
  });
  const more = day.spans.length - events.length;
  if (more > 0) events.push(`<li>and ${more} more: singlepoll status --history</li>\n`);
  const words = `the last day (times in UTC): ${sumWords(day)}`.replace(
    /(?<=\d|\bh) (?=\d|[a-z])/g,
    '\u00a0',
  );
  return `<section aria-label="the last day">
<svg viewBox="0 0 ${DAY_CELLS} 1" preserveAspectRatio="none" role="img" aria-label="${words}">${rects.join('')}</svg>
<div class="ticks">${ticks}<span>now</span></div>
<p>${words}</p>
<ul class="events">
${events.join('')}</ul>
</section>
`;
}

function rowHtml(row: StatusRow): string {
  const lines = row.rest.slice(0, LINES_MAX).map(escaped).join('\n');
  const more = lines === '' ? '' : `<div class="rest">${lines}</div>`;
  return `<div><dt>${escaped(row.label)}</dt><dd>${escaped(row.parts.join(', '))}${more}</dd></div>`;
}

/** Escapes names that come from processes, bots or other machines. */
const escaped = (text: string): string =>
  plain(text, TEXT_MAX).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

/** The status for a page beyond loopback: arguments may hold secrets of any form, and folders reveal details of the machine. */
export function discreet(doc: StatusDocument): StatusDocument {
  const { supervisor, worker, strays, alerts } = doc;
  const command = supervisor?.command.slice(0, 1).map(programName) ?? [];
  return {
    ...doc,
    supervisor: supervisor && { ...supervisor, command, cwd: null },
    worker: worker && {
      ...worker,
      tree: worker.tree.map((it) => ({ ...it, command: programName(it.command) })),
    },
    strays: strays.map((it) => ({ ...it, command: programName(it.command), cwd: null })),
    log: null,
    alerts: alerts && { ...alerts, lastError: null },
  };
}

/** Cuts causes at the colon, as the rest may name commands and addresses. */
export function discreetDay(day: Summary): Summary {
  return { ...day, spans: day.spans.map((it) => ({ ...it, cause: it.cause?.replace(/:.*/s, '') ?? null })) };
}

/** `/usr/bin/python3 bot.py --key=x` → `python3 …`. */
const programName = (command: string): string =>
  command
    .trim()
    .replace(/^\S*\//, '')
    .replace(/\s.*/s, ' …');
