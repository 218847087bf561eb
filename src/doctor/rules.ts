/** The table of rules: what doctor looks for in a project's files. A new rule is a row in one of these tables. */
import type { Facts } from '../project/facts.ts';
import { CODE_RULES } from './code.ts';
import type { Finding, Rule } from './finding.ts';
import { MANAGER_RULES } from './managers.ts';
import { PLATFORM_RULES } from './platforms.ts';
import { SERVER_RULES } from './servers.ts';
import { TOKEN_RULES } from './tokens.ts';

export const RULES: readonly Rule[] = [
  ...SERVER_RULES,
  ...MANAGER_RULES,
  ...PLATFORM_RULES,
  ...CODE_RULES,
  ...TOKEN_RULES,
];

/** Every finding, sorted by place; the same thing said twice of one line is said once. */
export function findCauses(facts: Facts): Finding[] {
  const found = new Map<string, Finding>();
  for (const rule of RULES) {
    for (const finding of rule.check(facts)) {
      const key = `${rule.id} ${finding.file} ${finding.line}`;
      if (!found.has(key)) found.set(key, { rule: rule.id, ...finding });
    }
  }
  return [...found.values()].sort(
    (a, b) => (a.file ?? '').localeCompare(b.file ?? '') || (a.line ?? 0) - (b.line ?? 0),
  );
}
