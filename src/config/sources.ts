/**
 * Looks an option up in the four layers, strongest first: flag, environment, env file, TOML file. Answers the raw value and
 * where it stands; says nothing about whether it is right.
 */
import { envTwin, type Layer, longFlag, type OptionName, optionRow } from './options.ts';

/** Raw values of flags as commander collects them: text, a list of texts, or true/false for a flag. */
export type RawFlags = { readonly [K in OptionName]?: string | readonly string[] | boolean | undefined };

export interface RawValue {
  readonly layer: Layer;
  /** Text from flags and environments; anything from TOML. */
  readonly raw: unknown;
  /** `--backoff`, `SINGLEPOLL_BACKOFF in the environment`, `backoff in singlepoll.toml line 3`. */
  readonly where: string;
}

export interface Layers {
  readonly flags: RawFlags;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly envFile: {
    readonly vars: Readonly<Record<string, string>>;
    readonly lines: Readonly<Record<string, number>>;
    readonly shown: string;
  } | null;
  readonly toml: {
    readonly values: Readonly<Record<string, unknown>>;
    readonly lineOf: (key: string) => number | null;
    readonly shown: string;
  } | null;
}

/** The strongest place that sets the option, or null. An empty variable sets nothing, but for a flag: there it is a no. */
export function lookUp(name: OptionName, layers: Layers): RawValue | null {
  const row = optionRow(name);
  const allowed = (layer: Layer): boolean => !row.notIn?.includes(layer);
  const variables = [envTwin(name), ...(row.alsoEnv ?? [])];

  const flag = layers.flags[name];
  if (flag !== undefined) return { layer: 'flag', raw: flag, where: longFlag(name) };
  for (const variable of variables) {
    const text = layers.environment[variable];
    if (text !== undefined && (text !== '' || row.kind === 'flag')) {
      return { layer: 'environment', raw: text, where: `${variable} in the environment` };
    }
  }
  if (layers.envFile && allowed('envFile')) {
    for (const variable of variables) {
      const text = layers.envFile.vars[variable];
      if (text !== undefined && (text !== '' || row.kind === 'flag')) {
        const line = layers.envFile.lines[variable];
        return { layer: 'envFile', raw: text, where: `${variable} in ${layers.envFile.shown} line ${line}` };
      }
    }
  }
  if (layers.toml && allowed('toml') && Object.hasOwn(layers.toml.values, name)) {
    return { layer: 'toml', raw: layers.toml.values[name], where: tomlWhere(name, layers.toml) };
  }
  return null;
}

/** `backoff in singlepoll.toml line 3`. */
export function tomlWhere(key: string, toml: NonNullable<Layers['toml']>): string {
  const line = toml.lineOf(key);
  return `${key} in ${toml.shown}${line === null ? '' : ` line ${line}`}`;
}
