// A bed whose worker is the relay, on an upstream of the test's own or on the sandbox.
import type { TestContext } from 'node:test';
import { type Bed, bed } from './bed.ts';
import { type Gate, type RelayOptions, relay } from './relay.ts';
import { openUpstream, type Upstream } from './upstream.ts';

export interface UpstreamBed {
  b: Bed;
  up: Upstream;
  gate: Gate;
}

/** `start` with the relay on a recording upstream; the worker polls in the background unless it is `--idle`. */
export async function onUpstream(
  t: TestContext,
  options: RelayOptions & { path?: string } = {},
): Promise<UpstreamBed> {
  const b = await bed(t);
  const up = await openUpstream(t, b.botId, options.path);
  b.env.TELEGRAM_API_ROOT = `${up.root}/`;
  const idle = options.worker?.includes('--idle') ?? false;
  const gate = await relay(b, { polled: () => idle || up.of('getUpdates').length > 0, ...options });
  return { b, up, gate };
}
