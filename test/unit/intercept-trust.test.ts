// Folders of certificates: those of supervisors that were killed go at the next start, and nobody else's.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeTrustFiles } from '../../src/intercept/trust.ts';
import { newFolder } from '../support/place.ts';

test('a start removes the folders of killed supervisors; those of living ones and of other pid namespaces stay', (t) => {
  const before = process.env.TMPDIR;
  const place = newFolder(t);
  process.env.TMPDIR = place;
  t.after(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  });
  const living = writeTrustFiles(Buffer.from('ca'), '/hooks/php.php')!;
  const namespace = /\d+/.exec(readlinkSync('/proc/self/ns/pid'))![0];
  // A pid that lives, with another start time: it is somebody else's by now.
  const killed = `singlepoll-trust-${namespace}-${process.pid}-1-abcdef`;
  const elsewhere = `singlepoll-trust-1-${process.pid}-1-abcdef`;
  const stranger = 'singlepoll-trust-me';
  for (const name of [killed, elsewhere, stranger]) mkdirSync(join(place, name));
  const next = writeTrustFiles(Buffer.from('ca'), '/hooks/php.php')!;
  const kept = [living.phpFolder, next.phpFolder, ...[elsewhere, stranger].map((name) => join(place, name))];
  const there = readdirSync(place).map((name) => join(place, name));
  assert.deepEqual(there.sort(), kept.sort());
  next.remove();
  living.remove();
  assert.deepEqual(readdirSync(place).sort(), [elsewhere, stranger].sort());
});
