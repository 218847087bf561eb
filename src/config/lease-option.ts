/** `--lease`: a URL, or `env:NAME` for the variable that holds it. Whatever is printed of it has the credentials masked. */

import { LeaseConfigError } from '../lease/store.ts';
import { leaseTiming } from '../lease/timing.ts';
import { maskLeaseUrl, parseLeaseUrl } from '../lease/url.ts';
import type { LeaseConfig } from './config.ts';
import type { ConfigError } from './config-error.ts';
import type { WhereSet } from './contradictions.ts';
import type { EnvFile } from './envfile.ts';
import { longFlag, type OptionValues } from './options.ts';
import { type Parsed, parsed, unparsed } from './parsed.ts';

const VARIABLE = /^env:([A-Za-z_][A-Za-z0-9_]*)$/;

export function parseLease(text: string): Parsed<string | null> {
  const trimmed = text.trim();
  if (/^env:/i.test(trimmed))
    return VARIABLE.test(trimmed) ? parsed(trimmed) : unparsed('behind env: stands no name of a variable');
  return parseUrl(trimmed);
}

export function showLease(text: string): string {
  return /^env:/i.test(text.trim()) ? text.trim() : maskLeaseUrl(text);
}

function parseUrl(text: string): Parsed<string> {
  try {
    parseLeaseUrl(text);
    return parsed(text);
  } catch (error) {
    if (!LeaseConfigError.is(error)) throw error;
    // The row of the table says what is accepted.
    return unparsed(error.message.replace(/^the lease URL \S*: /, '').replace(/; accepted: .*/s, ''));
  }
}

export interface LeaseContext {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly envFile: Pick<EnvFile, 'vars'> | null;
  /** Without polling there is nothing to share. */
  readonly polling: boolean;
  readonly whereSet: WhereSet;
}

/** The lease with its times checked; null where none is wanted, or something is wrong with it. */
export function chooseLease(
  values: Pick<OptionValues, 'lease' | 'leaseProfile' | 'leaseTtl'>,
  { environment, envFile, polling, whereSet }: LeaseContext,
  { errors, warnings }: { errors: ConfigError[]; warnings: string[] },
): LeaseConfig | null {
  const timesFrom = whereSet('leaseTtl') ?? whereSet('leaseProfile');
  if (values.lease === null) {
    if (timesFrom !== null) warnings.push(`${timesFrom} has no effect without --lease`);
    return null;
  }
  const where = whereSet('lease') ?? longFlag('lease');
  const url = resolveUrl(values.lease, where, environment, envFile, errors);
  const checked = leaseTiming(values.leaseProfile, values.leaseTtl);
  if (!checked.ok) {
    const from = timesFrom ?? longFlag('leaseProfile');
    errors.push({
      where: from,
      message: `${from} makes a lease that can't work: ${checked.problem}. Try --lease-profile fast (6s) or a longer --lease-ttl.`,
    });
  }
  if (url === null || !checked.ok || !polling) return null;
  if (where === longFlag('lease') && values.lease === url && parseLeaseUrl(url).password !== undefined)
    warnings.push(
      'the password in --lease shows in process lists; --lease env:NAME reads the URL from a variable',
    );
  return { url, timing: checked.timing };
}

function resolveUrl(
  lease: string,
  where: string,
  environment: LeaseContext['environment'],
  envFile: LeaseContext['envFile'],
  errors: ConfigError[],
): string | null {
  const name = VARIABLE.exec(lease)?.[1];
  if (name === undefined) return lease;
  const text = environment[name] || envFile?.vars[name];
  if (!text) {
    errors.push({
      where,
      message: `${where} is env:${name}, and ${name} is not set, neither in the environment nor in the env file`,
    });
    return null;
  }
  const url = parseUrl(text.trim());
  if (url.ok) return url.value;
  errors.push({
    where: name,
    message: `${name} (named by ${where}) is ${maskLeaseUrl(text)}: ${url.problem}`,
  });
  return null;
}
