/**
 * Options that are right one by one and wrong together. Pure: values in, mistakes and warnings out.
 */
import type { ConfigError } from './config-error.ts';
import { type DurationRange, formatDuration, type Rate } from './duration.ts';
import { longFlag, type OptionName, type OptionValues } from './options.ts';

/** Where an option was set, or null for its default. */
export type WhereSet = (name: OptionName) => string | null;

export function contradictions(values: OptionValues, whereSet: WhereSet): readonly ConfigError[] {
  const errors: ConfigError[] = [];
  const exclude = (one: OptionName, other: OptionName, why: string): void => {
    const first = whereSet(one) ?? longFlag(one);
    const second = whereSet(other) ?? longFlag(other);
    errors.push({ where: first, message: `${first} and ${second} exclude each other: ${why}` });
  };
  if (values.wait && values.takeover) {
    exclude('wait', 'takeover', 'the one waits until the holder leaves, the other asks it to leave');
  }
  if (values.noGateway) {
    if (values.lease !== null)
      exclude(
        'noGateway',
        'lease',
        'only the gateway keeps a worker from polling when its lease has run out',
      );
    if (values.sealed) exclude('noGateway', 'sealed', 'a sealed token is only good at the gateway');
    if (values.requireGateway)
      exclude('noGateway', 'requireGateway', 'without the gateway no worker can poll through it');
    if (values.gatewayPort !== null)
      exclude('noGateway', 'gatewayPort', 'there would be nothing at that port');
  }
  if (values.allowSetWebhook && values.keepWebhook) {
    exclude(
      'allowSetWebhook',
      'keepWebhook',
      'the one lets the worker set a webhook, the other ends because of one',
    );
  }
  if (values.keepWebhook && values.dropPending) {
    // Even where no webhook is set now: one that appears between the look and the call would be deleted.
    exclude(
      'keepWebhook',
      'dropPending',
      'updates are dropped by deleteWebhook, which would also delete the webhook',
    );
  }
  return errors;
}

export function doubts(values: OptionValues, whereSet: WhereSet): readonly string[] {
  return [
    ...withoutEffect(values, whereSet),
    ...withoutHttp(values, whereSet),
    ...endlessCrashLoop(values, whereSet),
  ];
}

/** What only the gateway does. */
function withoutEffect({ noGateway }: OptionValues, whereSet: WhereSet): readonly string[] {
  const names = ['onRival', 'rivalAfter', 'deafAfter', 'allowSetWebhook'] as const;
  return names
    .filter((name) => noGateway && whereSet(name) !== null)
    .map(
      (name) => `${whereSet(name)} has no effect with ${whereSet('noGateway')}: only the gateway does that`,
    );
}

function withoutHttp({ http }: OptionValues, whereSet: WhereSet): readonly string[] {
  const from = whereSet('readyInStandby');
  return http === null && from !== null ? [`${from} has no effect without --http`] : [];
}

function endlessCrashLoop(values: OptionValues, whereSet: WhereSet): readonly string[] {
  const { backoff, maxRestarts, restart } = values;
  const where = whereSet('backoff') ?? whereSet('maxRestarts');
  if (where === null || restart === 'never') return [];
  const shortestMs = shortestCrashLoopMs(backoff, maxRestarts);
  if (shortestMs <= maxRestarts.periodMs) return [];
  return [
    `a crash loop will never be noticed: with --backoff ${formatDuration(backoff.minMs)},${formatDuration(backoff.maxMs)} ` +
      `${maxRestarts.count + 1} restarts take longer than the ${formatDuration(maxRestarts.periodMs)} of --max-restarts ` +
      `${maxRestarts.count}/${formatDuration(maxRestarts.periodMs)} (${where})`,
  ];
}

/** The least time from the first to the last of one restart too many; jitter may halve every wait. */
function shortestCrashLoopMs(backoff: DurationRange, rate: Rate): number {
  let totalMs = 0;
  let waitMs = backoff.minMs;
  for (let restart = 0; restart < rate.count && totalMs <= rate.periodMs; restart++) {
    totalMs += waitMs / 2;
    waitMs = Math.min(waitMs * 2, backoff.maxMs);
  }
  return totalMs;
}
