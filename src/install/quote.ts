/**
 * One value in the languages of the files that `install` writes. Pure. Each throws SinglepollError 78 for what its language can't hold.
 * Facts: systemd.syntax(7), systemd.service(5) "Command lines", systemd.unit(5) "Specifiers", systemd.exec(5) EnvironmentFile=, crontab(5).
 */
import { showValue } from '../config/show-value.ts';
import { EXIT, SinglepollError } from '../errors.ts';

const PLAIN = /^[A-Za-z0-9_@+=:,./-]+$/;
const CONTROL = /[\x00-\x1f\x7f]/;

/** One word of ExecStart=, or of a list of paths (there without variables). */
export function systemdWord(word: string, expandsVariables = true): string {
  const literal = word.replaceAll('%', '%%');
  const whole = expandsVariables ? literal.replaceAll('$', '$$$$') : literal;
  if (PLAIN.test(word)) return whole;
  const escaped = whole.replace(/[\\"]/g, '\\$&').replace(/[\x00-\x1f\x7f]/g, (it) => {
    if (it === '\0') throw refused('a NUL', word);
    return `\\x${it.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
  return `"${escaped}"`;
}

/** A setting that is one path as it stands: WorkingDirectory=. */
export function systemdPath(path: string): string {
  if (CONTROL.test(path) || path.endsWith(' ') || path.endsWith('\\'))
    throw refused('what a unit file can’t hold', path);
  return path.replaceAll('%', '%%');
}

/** EnvironmentFile= takes "an absolute filename or wildcard expression": what would mean several files is refused. */
export function systemdFile(path: string): string {
  if (/[\\*?[]/.test(path)) throw refused('a wildcard of systemd (\\ * ? [)', path);
  return systemdPath(path);
}

/** Text for people within a unit. */
export function systemdText(text: string): string {
  return text
    .replace(/[\x00-\x1f\x7f]/g, '?')
    .replaceAll('%', '%%')
    .replace(/\\$/, '');
}

/** One word of POSIX sh. */
export function shellWord(word: string): string {
  if (word.includes('\0')) throw refused('a NUL', word);
  return PLAIN.test(word) ? word : `"${word.replace(/[\\"$`]/g, '\\$&')}"`;
}

/** What cron gives to sh: a bare percent sign would end it, and nothing can put a line break into it. */
export function cronCommand(command: string): string {
  if (CONTROL.test(command)) throw refused('a control character', command);
  return command.replaceAll('%', '\\%');
}

export function xmlText(text: string): string {
  if (/[\x00-\x08\x0b\x0c\x0e-\x1f]/.test(text)) throw refused('a control character', text);
  return text.replace(/[&<>"]/g, (it) => `&#${it.charCodeAt(0)};`).replaceAll('\r', '&#13;');
}

/** `NAME="value"`, read alike by systemd (EnvironmentFile=), POSIX sh and our own --env-file. */
export function envLine(name: string, value: string): string {
  if (/[\0\r]/.test(value))
    throw new SinglepollError(EXIT.config, `${name} holds a NUL or a carriage return: no file can keep it`);
  return `${name}="${value.replace(/[\\"$`]/g, '\\$&')}"`;
}

function refused(what: string, where: string): SinglepollError {
  return new SinglepollError(EXIT.config, `there is ${what} in ${showValue(where)}: that can’t be installed`);
}
