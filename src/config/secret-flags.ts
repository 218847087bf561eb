/** Options whose value may be a secret, though it was typed as a flag: it must not go into a file that others may read. Pure. */
import { showAlertUrl } from './alert-option.ts';
import { showLease } from './lease-option.ts';
import type { RawFlags } from './sources.ts';

const SHOWN = { lease: showLease, alertUrl: showAlertUrl } as const;

export type SecretFlag = keyof typeof SHOWN;

/** Those of `flags` that hold a secret, as they were given. A value `env:NAME` holds none. */
export function secretFlags(
  flags: RawFlags,
): readonly { readonly name: SecretFlag; readonly value: string }[] {
  return (Object.keys(SHOWN) as SecretFlag[]).flatMap((name) => {
    const value = flags[name];
    return typeof value === 'string' && SHOWN[name](value) !== value.trim() ? [{ name, value }] : [];
  });
}
