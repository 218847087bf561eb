/**
 * Shows the worker's output as text to somebody who looks for a phrase, on a budget: a worker that floods is sampled, a
 * normal one is seen whole. Samples end at line ends, so that no phrase is cut in two and none is seen twice.
 */

export interface Sampler {
  /** Takes the next bytes; keeps no reference to them. */
  offer(bytes: Buffer, nowMs: number): void;
  /** The stream has ended: shows the last line, also one without an end. */
  end(): void;
}

export const SAMPLE_BYTES_PER_S = 256 * 1024;
/** Of bytes beyond the budget, so much of their end is shown when that is within it. */
const PART_BYTES = 64 * 1024;
const NEWLINE = 0x0a;
/** An unfinished line is kept up to this length, then shown as it is. */
const LINE_MAX = 4096;

export function createSampler(onText: (sample: string) => void): Sampler {
  let allowance = SAMPLE_BYTES_PER_S;
  let sinceMs = 0;
  let unfinished = '';

  function offer(bytes: Buffer, nowMs: number): void {
    allowance = Math.min(SAMPLE_BYTES_PER_S, allowance + ((nowMs - sinceMs) / 1000) * SAMPLE_BYTES_PER_S);
    sinceMs = nowMs;
    let start = 0;
    if (bytes.length > allowance) {
      unfinished = '';
      if (allowance < PART_BYTES) return;
      start = bytes.indexOf(NEWLINE, bytes.length - PART_BYTES) + 1;
      if (start === 0) return;
    }
    allowance -= bytes.length - start;
    const lineEnd = bytes.lastIndexOf(NEWLINE) + 1;
    const rest = bytes.toString('utf8', lineEnd);
    if (lineEnd === 0 && unfinished.length + rest.length < LINE_MAX) {
      unfinished += rest;
      return;
    }
    const sample = unfinished + bytes.toString('utf8', start, lineEnd);
    unfinished = rest;
    if (sample !== '') onText(sample);
    if (unfinished.length >= LINE_MAX) {
      onText(unfinished);
      unfinished = '';
    }
  }

  function end(): void {
    if (unfinished !== '') onText(unfinished);
    unfinished = '';
  }

  return { offer, end };
}
