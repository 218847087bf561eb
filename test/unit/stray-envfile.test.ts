/** Whose token an env file holds. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createEnvFileReader, fileToken } from '../../src/machine/envfile.ts';

const OURS = '111111111:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw';
const OTHER = '222222222:BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw';

for (const [name, text, token] of [
  ['plain', `TELEGRAM_BOT_TOKEN=${OURS}`, 'ours'],
  ['any name', `MY_BOT=${OURS}\n`, 'ours'],
  ['quoted', `A="${OURS}"`, 'ours'],
  ['single quotes and a comment', `A='${OURS}' # my bot`, 'ours'],
  ['export, spaces, comment', `export A = ${OURS}  # my bot`, 'ours'],
  ['YAML-like', `A: ${OURS}`, 'ours'],
  ['Windows line ends', `X=1\r\nA=${OURS}\r\n`, 'ours'],
  ['commented out', `#A=${OURS}`, 'none'],
  ['part of a value', `A=x${OURS}`, 'none'],
  ['a longer secret', `A=${OURS}x`, 'none'],
  ["another bot's", `BOT_TOKEN=${OTHER}`, 'other'],
  ['two bots, names unknown', `ALPHA=${OURS}\nBETA=${OTHER}`, 'both'],
  ['two bots, ours by the known name', `BOT_TOKEN=${OURS}\nBETA=${OTHER}`, 'ours'],
  ['two bots, the other by the better known name', `BOT_TOKEN=${OURS}\nTELEGRAM_BOT_TOKEN=${OTHER}`, 'both'],
  ['an older secret of this bot', 'A=111111111:CCHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw', 'none'],
  ['empty', '', 'none'],
] as const) {
  test(`env file: ${name} → ${token}`, () => assert.equal(fileToken(text, [OURS], '111111111'), token));
}

test('files: changed ones are read again; missing, huge, folders and pipes are none', () => {
  const folder = mkdtempSync(join(tmpdir(), 'envfile-'));
  try {
    const path = join(folder, '.env');
    const reader = createEnvFileReader([OURS], '111111111');
    assert.equal(reader.read(path), 'none');
    writeFileSync(path, `A=${OURS}`);
    assert.equal(reader.read(path), 'ours');
    assert.equal(reader.read(path), 'ours');
    writeFileSync(path, `A=${OTHER}`);
    assert.equal(reader.read(path), 'other');
    writeFileSync(path, `A=${OURS}\n${'#'.repeat(2 * 1024 * 1024)}`);
    assert.equal(reader.read(path), 'none');
    rmSync(path);
    execFileSync('mkfifo', [path]);
    assert.equal(reader.read(path), 'none');
    assert.equal(reader.read(folder), 'none');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
