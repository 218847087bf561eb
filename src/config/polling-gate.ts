/**
 * POLLING_ENABLED: exactly `1`, or unset, is polling mode; anything else is deploy mode, where nobody polls. The strictness
 * is the contract (a stray space must not start a second poller); a value that reads like a yes is worth a warning.
 */

export interface PollingGate {
  readonly polling: boolean;
  readonly looksLikeYes: boolean;
  readonly value: string | null;
  readonly source: string | null;
}

/** Decides from environment, then env file. An empty value is a value, and not `1`. */
export function pollingGate(
  environment: Readonly<Record<string, string | undefined>>,
  envFile: { readonly vars: Readonly<Record<string, string>>; readonly shown: string } | null,
): PollingGate {
  const set = environment.POLLING_ENABLED;
  const value = set ?? envFile?.vars.POLLING_ENABLED ?? null;
  if (value === null) return { polling: true, looksLikeYes: false, value, source: null };
  const source = `POLLING_ENABLED in ${set === undefined ? envFile?.shown : 'the environment'}`;
  const polling = value === '1';
  const looksLikeYes = !polling && /^["']?(?:true|on|yes|y|t|enabled?|0*1)["']?$/i.test(value.trim());
  return { polling, looksLikeYes, value, source };
}
