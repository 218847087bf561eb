/**
 * Names that nobody reads: a key of singlepoll.toml (a mistake) and a SINGLEPOLL_* variable (a warning, since it may be
 * meant for another version, or have come down from a singlepoll that runs this one).
 */
import type { ConfigError } from './config-error.ts';
import { envTwin, OPTION_NAMES, optionRow } from './options.ts';
import { showValue } from './show-value.ts';
import { type Layers, tomlWhere } from './sources.ts';
import { suggest } from './suggest.ts';

/** Variables that are no options: the state folder, and what a supervisor gives its worker. */
const KNOWN_VARIABLES = [
  'SINGLEPOLL_DIR',
  'SINGLEPOLL_BOT',
  'SINGLEPOLL_RUN',
  'SINGLEPOLL_SPAWN',
  'SINGLEPOLL_EPOCH',
];

export function unknownTomlKeys(toml: NonNullable<Layers['toml']>): readonly ConfigError[] {
  const inToml = OPTION_NAMES.filter((name) => !optionRow(name).notIn?.includes('toml'));
  const known: readonly string[] = ['command', ...inToml];
  return Object.keys(toml.values)
    .filter((key) => !known.includes(key))
    .map((key) => {
      const where = /^[\w-]{1,64}$/.test(key) ? tomlWhere(key, toml) : `${showValue(key)} in ${toml.shown}`;
      return { where, message: `${where}: ${advice(key, known)}` };
    });
}

function advice(key: string, known: readonly string[]): string {
  if (/^(?:bot_?)?token$/i.test(key)) {
    return 'a token does not go into this file; name the place that holds it with tokenFile or tokenEnv';
  }
  if (key === 'config') return 'a configuration file cannot name another one';
  const close = suggest(key, known);
  return `there is no such option${close === null ? `; the options are ${known.join(', ')}` : `; did you mean ${close}?`}`;
}

export function unknownVariables(layers: Pick<Layers, 'environment' | 'envFile'>): readonly string[] {
  const twins = OPTION_NAMES.map(envTwin);
  const known = [...twins, ...KNOWN_VARIABLES];
  const unknown = (name: string): boolean => name.startsWith('SINGLEPOLL_') && !known.includes(name);
  const warnings: string[] = [];
  const warn = (name: string, place: string): void => {
    const close = suggest(
      name.slice('SINGLEPOLL_'.length),
      known.map((twin) => twin.slice('SINGLEPOLL_'.length)),
    );
    const shown = /^\w{1,64}$/.test(name) ? name : showValue(name);
    warnings.push(
      `${shown} in ${place} means nothing${close === null ? '' : `; did you mean SINGLEPOLL_${close}?`}`,
    );
  };
  for (const name of Object.keys(layers.environment)) if (unknown(name)) warn(name, 'the environment');
  if (!layers.envFile) return warnings;
  const { vars, shown } = layers.envFile;
  for (const name of Object.keys(vars)) if (unknown(name)) warn(name, shown);
  for (const name of OPTION_NAMES) {
    if (optionRow(name).notIn?.includes('envFile') && envTwin(name) in vars) {
      warnings.push(`${envTwin(name)} in ${shown} is not read: it decides which files are`);
    }
  }
  if ('SINGLEPOLL_DIR' in vars && layers.environment.SINGLEPOLL_DIR === undefined) {
    warnings.push(`SINGLEPOLL_DIR in ${shown} is not read: only the environment can set it`);
  }
  return warnings;
}
