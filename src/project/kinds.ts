/** What a file is, by its name. */
import { baseOf } from './files.ts';

export type Language = 'python' | 'js' | 'other-code';

export function languageOf(path: string): Language | null {
  if (path.endsWith('.py')) return 'python';
  if (/\.(c|m)?(js|ts)x?$/.test(path)) return 'js';
  if (/\.(go|rb|php|rs|java|kt|cs|exs?)$/.test(path)) return 'other-code';
  return null;
}

/** A log that programs write, not code about logging. */
export function isLog(path: string): boolean {
  return /\.(log|out|err)(\.\d+)?$|(^|\/)nohup\.out$|(^|\/)logs?\/[^/]*\.(txt|json|jsonl)$/.test(path);
}

export function isEnvFile(path: string): boolean {
  const name = baseOf(path);
  return /^\.?env(\.[\w.-]+)?$|^[\w.-]+\.env$|^\.flaskenv$/.test(name) && !/\.(js|ts|py|sh|go)$/.test(name);
}

export const isDockerfile = (path: string): boolean =>
  /^(Dockerfile|dockerfile|Containerfile)([.-][\w.-]+)?$|\.[Dd]ockerfile$/.test(baseOf(path));

export const isCompose = (path: string): boolean =>
  /^(docker-)?compose([.-][\w.-]+)?\.ya?ml$/.test(baseOf(path));

export const isProcfile = (path: string): boolean => /^Procfile(\.[\w-]+)?$/.test(baseOf(path));

/** Files for a developer's own machine: `Procfile.dev`, `compose.override.yml`. */
export const isForDevelopment = (path: string): boolean =>
  /[._-](dev|develop|development|local|override|debug|test|tests|testing|ci)(?=[._-]|$)/i.test(baseOf(path));

/** A name that says "for development": of npm scripts, make targets, compose services. */
export const isDevelopmentName = (name: string): boolean =>
  /(^|[:._-])(dev|develop|development|watch|debug|test|tests|local|lint|format|hot)([:._-]|$)/i.test(name) ||
  /^(watch|dev)/i.test(name);

/** A name that a bot would have. */
export const isBotName = (name: string): boolean =>
  /bot(?![a-z]*(h|tom|tle))|telegram|poll(er|ing)|(^|[-_])tg([-_]|$)/i.test(name);
