/** Calls in the code that end somebody's polling, lose updates, or are a second poller themselves. */
import { conditionsAround, withoutComments } from '../project/code.ts';
import type { Facts } from '../project/facts.ts';
import { isAside, lineAt } from '../project/files.ts';
import { isDockerfile, languageOf } from '../project/kinds.ts';
import { type Finding, place, type Rule } from './finding.ts';

type Said = Omit<Finding, 'rule'>;

function codeFiles(facts: Facts): { path: string; code: string; rows: string[] }[] {
  return facts.project.files.flatMap(({ path, text }) => {
    if (text === null || isAside(path) || languageOf(path) === null) return [];
    const code = withoutComments(path, text);
    return [{ path, code, rows: code.split('\n') }];
  });
}

/** A program that takes its updates one way or the other, by a setting, is as it should be. */
const CHOICE = /webhook|polling|mode|\benv|prod|stage|domain|url|host|heroku|render|railway|fly|port/i;

const setWebhook: Rule = {
  id: 'sets-webhook',
  about: 'setWebhook in a project that polls',
  check: (facts) => {
    const first = facts.polls[0];
    if (!first) return [];
    return facts.webhooks.flatMap(({ file, line, what }) => {
      // Serving a webhook disturbs nobody; setting one does.
      if (/^webhookCallback$|^start_?webhook$/i.test(what) && file !== first.file) return [];
      const rows = withoutComments(file, facts.text(file)).split('\n');
      if (/^webhookCallback$/.test(what)) return [];
      if (conditionsAround(rows, line).some((condition) => CHOICE.test(condition))) return [];
      if (chosenByCaller(facts, file, rows, line)) return [];
      return [
        {
          file,
          line,
          why: `${what}: as long as a webhook is set, every getUpdates is answered with 409; this project polls: ${place(first)} (${first.what})`,
          cure: 'take the call out, or the polling; singlepoll start clears the webhook that is set now',
        },
      ];
    });
  },
};

/** `async def run_by_webhook(): … set_webhook`, called under an `if`. */
function chosenByCaller(facts: Facts, file: string, rows: readonly string[], line: number): boolean {
  let name: string | null = null;
  for (let at = line - 1; at >= 0 && name === null; at--) {
    if (at < line - 1 || /\bfunction\b/.test(rows[at]!)) {
      name =
        /^\s*(?:export\s+)?(?:async\s+)?(?:def|function)\s+(\w+)/.exec(rows[at]!)?.[1] ??
        /^\s*(?:export\s+)?const\s+(\w+)\s*=\s*(?:async\s*)?\(/.exec(rows[at]!)?.[1] ??
        null;
    }
  }
  if (name === null) return false;
  const used = new RegExp(`(?<!def )(?<!function )\\b${name}\\b`);
  let seen = 0;
  for (const path of [file, ...facts.project.files.map((one) => one.path).filter((one) => one !== file)]) {
    if (languageOf(path) === null || isAside(path)) continue;
    const lines = path === file ? rows : withoutComments(path, facts.text(path)).split('\n');
    for (const [index, row] of lines.entries()) {
      if (
        !used.test(row) ||
        /^\s*(from|import|export \{)/.test(row) ||
        new RegExp(`(const|let)\\s+${name}\\b`).test(row)
      )
        continue;
      seen += 1;
      const own = /\bif\b.*\belse\b|\?/.test(row) && CHOICE.test(row);
      if (!own && !conditionsAround(lines, index + 1).some((condition) => CHOICE.test(condition)))
        return false;
    }
  }
  return seen > 0;
}

const DROPS =
  /\b(drop_pending_updates|dropPendingUpdates|DropPendingUpdates|skip_pending|skip_updates|skipUpdates|drop_pending)\b["']?\s*[=:]\s*(?:True|true|1)\b/g;

const dropsPending: Rule = {
  id: 'drops-pending',
  about: 'drop_pending_updates, skip_updates, skip_pending',
  check: (facts) =>
    facts.takesUpdates !== 'polling'
      ? []
      : codeFiles(facts).flatMap(({ path, code, rows }) =>
          [...code.matchAll(DROPS)].flatMap((match): Said[] => {
            const line = lineAt(code, match.index);
            if (
              conditionsAround(rows, line).some((condition) =>
                /\b(args|argv|flag|debug|dev|drop|reset|clean)/i.test(condition),
              )
            )
              return [];
            return [
              {
                file: path,
                line,
                why: `${match[1]}: every start throws away the messages that came in meanwhile, also after a crash or a take-over`,
                cure: `without ${match[1]}; where it is wanted once: singlepoll start --drop-pending`,
              },
            ];
          }),
        ),
};

const negativeOffset: Rule = {
  id: 'negative-offset',
  about: 'getUpdates with a negative offset',
  check: (facts) => [
    ...codeFiles(facts).flatMap(({ path, code, rows }) =>
      [...code.matchAll(/(?<![\w.])["']?offset["']?\s*[=:]\s*-\s*\d+/g)].flatMap((match) => {
        const line = lineAt(code, match.index);
        const near = rows.slice(Math.max(0, line - 6), line + 5).join('\n');
        if (!/get_?updates/i.test(near)) return [];
        return [negative(path, line)];
      }),
    ),
    ...shellRows(facts).flatMap(({ path, row, line }) =>
      /getUpdates\S*[?&\s"']offset["']?[=:]\s*-\d/.test(row) ? [negative(path, line)] : [],
    ),
  ],
};

const negative = (file: string, line: number): Said => ({
  file,
  line,
  why: 'a negative offset forgets all earlier updates, and confirms them for whoever polls besides',
  cure: 'offset = the last update_id + 1',
});

/** Lines of scripts and settings that run by themselves: shell, make, compose health checks, CI. */
function shellRows(facts: Facts): { path: string; row: string; line: number }[] {
  return facts.project.files.flatMap(({ path, text }) => {
    if (text === null || isAside(path)) return [];
    if (
      !/\.(sh|bash|ya?ml|service|cron)$|akefile$|justfile$|crontab$|package\.json$/.test(path) &&
      !isDockerfile(path)
    )
      return [];
    return withoutComments(path.replace(/package\.json$/, 'x.conf'), text)
      .split('\n')
      .map((row, index) => ({ path, row, line: index + 1 }));
  });
}

const curlPolls: Rule = {
  id: 'script-polls',
  about: 'getUpdates or setWebhook by curl in a script, health check or workflow',
  check: (facts) =>
    shellRows(facts).flatMap(({ path, row, line }): Said[] => {
      if (!/\b(curl|wget|http|https|xh)\b/.test(row)) return [];
      if (/\/getUpdates\b/i.test(row)) {
        return [
          {
            file: path,
            line,
            why: 'this getUpdates is a poller, too: it takes the poll from the bot, which gets a 409',
            cure: 'ask getMe instead, or singlepoll status',
          },
        ];
      }
      const sets =
        /\/setWebhook\b(?!\S*[?&]url=(?:["'&\s]|$))/i.test(row) && facts.takesUpdates === 'polling';
      return sets
        ? [
            {
              file: path,
              line,
              why: `setWebhook: as long as a webhook is set, every getUpdates is answered with 409; this project polls: ${place(facts.polls[0]!)}`,
              cure: 'take the line out',
            },
          ]
        : [];
    }),
};

export const CODE_RULES: readonly Rule[] = [setWebhook, dropsPending, negativeOffset, curlPolls];
