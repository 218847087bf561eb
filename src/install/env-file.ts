/** Which variables of the shell go along, and the file that keeps them. Pure. */
import type { Config } from '../config/load.ts';
import { namesIn, OPTION_NAMES } from '../config/options.ts';
import { EXIT, SinglepollError } from '../errors.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Read by singlepoll, Node and their libraries; the rest of a shell's variables is not taken along unless asked for. */
const ALWAYS = [
  'PATH',
  'LANG',
  'LC_ALL',
  'TZ',
  'VIRTUAL_ENV',
  'NO_COLOR',
  'SINGLEPOLL_DIR',
  'POLLING_ENABLED',
  'TELEGRAM_API_ROOT',
  'ASSISTANT_ADMIN_TELEGRAM_ID',
  'TELEGRAM_ADMIN_CHAT_ID',
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'KUBECONFIG',
  ...['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'].flatMap((it) => [it, it.toUpperCase()]),
];

/** `extra`: names that were asked for; `lease`: the variable that --lease env:NAME reads. Values may be secrets. */
export function variablesToKeep(
  env: Environment,
  config: Pick<Config, 'tokenVariables'>,
  extra: readonly string[],
): Record<string, string> {
  const names = new Set([
    ...ALWAYS,
    ...OPTION_NAMES.flatMap((option) => namesIn('environment', option).map((it) => it.key)),
    ...config.tokenVariables,
    ...extra,
  ]);
  const kept: Record<string, string> = {};
  for (const name of names) {
    const value = env[name];
    if (value !== undefined) kept[name] = value;
  }
  return kept;
}

export function envFileText(name: string, env: Readonly<Record<string, string>>): string {
  const head = [
    `# Environment of ${name}, made by singlepoll install. It may hold secrets: keep it 0600.`,
    '# Lines are NAME="value", with a backslash before \\ " $ and `. Changed by hand, they count from the next start on.',
  ];
  const lines = Object.entries(env).map(([key, value]) => envLine(key, value));
  return `${[...head, ...lines].join('\n')}\n`;
}

/** `NAME="value"`, read alike by systemd (EnvironmentFile=), POSIX sh and our own --env-file. */
export function envLine(name: string, value: string): string {
  if (/[\0\r]/.test(value))
    throw new SinglepollError(EXIT.config, `${name} holds a NUL or a carriage return: no file can keep it`);
  return `${name}="${value.replace(/[\\"$`]/g, '\\$&')}"`;
}
