/**
 * Where alerts and the daily digest go, and when, of all options together. Reads the template of --alert-format.
 */
import { parseTemplate, type Template } from '../alert/template.ts';
import { ownZone } from '../core/daily.ts';
import {
  ALERT_PRESETS,
  type AlertConfig,
  type AlertPreset,
  type AlertUrl,
  guessFormat,
  parseWebUrl,
  showAlertUrl,
  topicOf,
  VARIABLE,
} from './alert-option.ts';
import type { ConfigError } from './config-error.ts';
import { showPath } from './config-files.ts';
import type { WhereSet } from './contradictions.ts';
import type { EnvFile } from './envfile.ts';
import type { OptionName, OptionValues } from './options.ts';
import { type Parsed, parsed, unparsed } from './parsed.ts';
import { readTextFile } from './read-file.ts';

export interface AlertContext {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly envFile: Pick<EnvFile, 'vars'> | null;
  readonly adminChatId: string | null;
  readonly hasToken: boolean;
  readonly polling: boolean;
  readonly cwd: string;
  readonly whereSet: WhereSet;
  /** As --log-file does it: relative to where it was set. */
  readonly resolve: (name: OptionName, path: string) => string;
}

type AlertValues = Pick<
  OptionValues,
  'noAlerts' | 'alertUrl' | 'alertFormat' | 'alertCooldown' | 'digest' | 'digestZone'
>;

/** Null where nothing is to be sent to anybody, or something is wrong. */
export function chooseAlerts(
  values: AlertValues,
  context: AlertContext,
  { errors, warnings }: { errors: ConfigError[]; warnings: string[] },
): AlertConfig | null {
  const { whereSet } = context;
  // Telegram is told nothing in deploy mode.
  const chat = values.noAlerts || !context.polling || !context.hasToken ? null : context.adminChatId;
  const before = errors.length;
  const url = chooseUrl(values, context, { errors, warnings });
  if (errors.length > before) return null;
  if (url === null) {
    const from = whereSet('alertFormat');
    if (from) warnings.push(`${from} has no effect without --alert-url`);
  }
  if (values.digest === null) {
    const from = whereSet('digestZone');
    if (from) warnings.push(`${from} has no effect without --digest`);
  }
  if (chat === null && url === null) {
    for (const name of ['alertCooldown', 'digest'] as const) {
      const from = whereSet(name);
      if (from && values[name] !== null)
        warnings.push(
          `${from} has no effect: there is neither an admin chat (ASSISTANT_ADMIN_TELEGRAM_ID)${context.polling ? '' : ' in use, without polling,'} nor --alert-url`,
        );
    }
    return null;
  }
  return {
    chat,
    url,
    cooldownMs: values.alertCooldown,
    digest: values.digest && { ...values.digest, zone: values.digestZone ?? ownZone() },
  };
}

function chooseUrl(
  values: AlertValues,
  context: AlertContext,
  { errors, warnings }: { errors: ConfigError[]; warnings: string[] },
): AlertUrl | null {
  if (values.alertUrl === null) return null;
  const where = context.whereSet('alertUrl') ?? '--alert-url';
  const found = resolveUrl(values.alertUrl, where, context);
  if (!found.ok) {
    errors.push({ where, message: found.problem });
    return null;
  }
  const url = new URL(found.value);
  if (
    where === '--alert-url' &&
    values.alertUrl === found.value &&
    url.pathname.length + url.search.length > 1
  )
    warnings.push(
      'the path in --alert-url shows in process lists; --alert-url env:NAME reads the URL from a variable',
    );
  const format = chooseFormat(values.alertFormat, url, context);
  if (!format.ok) {
    errors.push({ where: context.whereSet('alertFormat') ?? '--alert-format', message: format.problem });
    return null;
  }
  if (format.value === 'ntfy' && topicOf(url) === '') {
    errors.push({
      where,
      message: `${where} is ${showAlertUrl(found.value)}: without a topic, such as https://ntfy.sh/my-topic`,
    });
    return null;
  }
  return { url: found.value, format: format.value };
}

function resolveUrl(text: string, where: string, { environment, envFile }: AlertContext): Parsed<string> {
  const name = VARIABLE.exec(text)?.[1];
  if (name === undefined) return parsed(text);
  const value = (environment[name] || envFile?.vars[name])?.trim();
  if (!value)
    return unparsed(
      `${where} is env:${name}, and ${name} is not set, neither in the environment nor in the env file`,
    );
  const url = parseWebUrl(value);
  return url.ok ? url : unparsed(`${name} (named by ${where}) is ${showAlertUrl(value)}: ${url.problem}`);
}

function chooseFormat(
  asked: string | null,
  url: URL,
  { whereSet, resolve, cwd }: AlertContext,
): Parsed<AlertPreset | Template> {
  if (asked === null) return parsed(guessFormat(url));
  const preset = ALERT_PRESETS.find((it) => it === asked);
  if (preset) return parsed(preset);
  const where = whereSet('alertFormat') ?? '--alert-format';
  const path = resolve('alertFormat', asked);
  const file = readTextFile(path);
  if (file.kind === 'missing')
    return unparsed(
      `${where} is neither ${ALERT_PRESETS.join(', ')} nor a file: there is no ${showPath(path, cwd)}`,
    );
  if (file.kind !== 'text') return unparsed(`${where}, ${showPath(path, cwd)}: ${file.problem}`);
  const template = parseTemplate(file.text);
  return template.ok
    ? parsed(template.template)
    : unparsed(`the template ${showPath(path, cwd)} (${where}): ${template.problem}`);
}
