// One line of the chaos table.
import type { EngineName } from '../support/engines.ts';
import type { Scene } from './scene.ts';

export interface Row {
  /** As in the test plan; letters tell variants apart. */
  readonly id: string;
  readonly fault: string;
  /** Only with these. */
  readonly engines?: readonly EngineName[];
  /** The engine's wall clock can be set. */
  readonly setsClock?: boolean;
  /** Documented limit: this many getUpdates may come late, and so much overlap come of it. Absent: none. */
  readonly limit?: { readonly stale: number; readonly overlapMs: number };
  /** The worker of a supervisor that stands still lives on, behind a door that stands still too. */
  readonly workersMayOverlap?: boolean;
  /** The fault and what has to come of it; the scene is settled and judged afterwards. */
  run(scene: Scene): Promise<void>;
}
