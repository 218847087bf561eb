/**
 * Whole stories of the supervisor's table, as text: an event with its time at the margin, what is done about it indented.
 *   SP_UPDATE_TRANSCRIPTS=1 node --import tsx --test test/unit/transcripts.test.ts    writes the answers anew
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { initial, type Policy, step } from '../../src/supervisor/table.ts';
import { POLICY, parseEvent, parsePolicy, showStep } from '../support/table-text.ts';

const FOLDER = join(import.meta.dirname, '..', 'transcripts');

/** Takes comments, the policy and the events of a transcript, and writes the answers under each event. */
function replay(text: string): string {
  let policy: Policy = POLICY;
  let state = initial;
  const lines: string[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('    ')) continue;
    lines.push(line);
    if (line.startsWith('policy ')) policy = parsePolicy(line.slice('policy '.length));
    if (line === '' || line.startsWith('#') || line.startsWith('policy ')) continue;
    const [, atMs, event] = /^ *(\d+) (.+)$/.exec(line) ?? [];
    assert.ok(atMs !== undefined && event !== undefined, `not a line of a transcript: ${line}`);
    const [next, effects] = step(state, parseEvent(Number(atMs), event, state), policy);
    state = next;
    lines.push(...showStep(state, effects).map((it) => `    ${it}`));
  }
  return lines.join('\n');
}

for (const name of readdirSync(FOLDER).sort()) {
  test(`transcript: ${name.replace('.txt', '').replaceAll('-', ' ')}`, () => {
    const path = join(FOLDER, name);
    const told = readFileSync(path, 'utf8');
    const replayed = replay(told);
    if (process.env.SP_UPDATE_TRANSCRIPTS === '1') writeFileSync(path, replayed);
    else assert.equal(replayed, told);
  });
}
