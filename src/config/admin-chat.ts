/**
 * The admin chat, for `ping` and alerts: ASSISTANT_ADMIN_TELEGRAM_ID, else TELEGRAM_ADMIN_CHAT_ID, the environment first.
 */
import type { CommandName } from './config.ts';
import type { EnvFileLayer, Findings } from './config-files.ts';
import { showValue } from './show-value.ts';

const VARIABLES = ['ASSISTANT_ADMIN_TELEGRAM_ID', 'TELEGRAM_ADMIN_CHAT_ID'] as const;

/** A chat id or `@name` as text, null where none is set; a malformed one stops `ping` only. */
export function findAdminChat(
  request: { readonly command: CommandName; readonly env: Readonly<Record<string, string | undefined>> },
  envFile: EnvFileLayer | null,
  findings: Findings,
): string | null {
  for (const [vars, place] of [
    [request.env, 'the environment'],
    [envFile?.vars ?? {}, envFile?.shown ?? ''],
  ] as const) {
    for (const name of VARIABLES) {
      const text = vars[name]?.trim();
      if (text === undefined || text === '') continue;
      if (/^-?[1-9]\d{0,15}$|^@[A-Za-z]\w{3,31}$/.test(text)) return text;
      const message = `${name} in ${place} is ${showValue(text)}: it is neither a chat id (a number) nor a @name`;
      if (request.command === 'ping') findings.errors.push({ where: `${name} in ${place}`, message });
      else findings.warnings.push(message);
      return null;
    }
  }
  return null;
}
