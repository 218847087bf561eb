/** doctor's judgements of the machine and of git's output, and how far it walks. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { LIMITS, readProject } from '../../src/doctor/files.ts';
import { type Answer, checkEnvFiles, judgeAnswer } from '../../src/doctor/machine.ts';
import { commandsOf } from '../../src/doctor/processes.ts';
import { judgeHistory } from '../../src/doctor/tokens.ts';
import { areOthersHidden } from '../../src/machine/procfs.ts';
import { randomToken } from '../support/bed.ts';
import { newFolder } from '../support/place.ts';

const NOW = Date.parse('2026-01-01T00:00:00Z');

describe('machine', () => {
  test('hidepid is told by the mounts', () => {
    const proc = (options: string) => `sysfs /sys sysfs rw 0 0\nproc /proc proc ${options} 0 0\n`;
    assert.equal(areOthersHidden(proc('rw,relatime')), false);
    for (const hidden of ['rw,hidepid=2', 'rw,hidepid=invisible,gid=5'])
      assert.equal(areOthersHidden(proc(hidden)), true);
  });
  test('the answer of the API root: below 500 is reach, a certificate and an unknown name have cures of their own', () => {
    const judge = (seen: Partial<Answer> & { offMs?: number }) => {
      const date = seen.offMs === undefined ? undefined : new Date(NOW - seen.offMs).toUTCString();
      const checks = judgeAnswer(new URL('https://api.example'), { failure: null, date, ...seen }, NOW);
      return Object.fromEntries(checks.map(({ rule, ok }) => [rule, ok]));
    };
    const well = { dns: true, 'api-root': true };
    for (const offMs of [0, 29_000, -29_000])
      assert.deepEqual(judge({ status: 302, offMs }), { ...well, clock: true });
    for (const offMs of [31_000, -31_000])
      assert.deepEqual(judge({ status: 302, offMs }), { ...well, clock: false });
    assert.deepEqual(judge({ status: 404 }), { ...well, clock: null });
    assert.deepEqual(judge({ status: 503, offMs: 0 }), { dns: true, 'api-root': false, clock: true });
    assert.deepEqual(judge({ failure: 'ENOTFOUND' }), { dns: false, 'api-root': null, clock: null });
    const [tls] = judgeAnswer(new URL('https://x'), { failure: 'SELF_SIGNED_CERT_IN_CHAIN' }, NOW);
    assert.match(tls?.cure ?? '', /NODE_EXTRA_CA_CERTS/);
  });
  test('env files: what the group may read is nobody’s finding, what all may is; without a token nothing is', () => {
    const file = (mode: number, path = '.env', text = `T=${randomToken()}`) =>
      checkEnvFiles([{ path, text, mode }])[0]!.ok;
    assert.deepEqual([file(0o600), file(0o640), file(0o644), file(0o660)], [true, true, false, false]);
    assert.equal(file(0o644, '.env', 'A=1'), true);
    assert.equal(file(0o644, '.env.example'), true);
  });
});

describe('git history', () => {
  const token = randomToken();
  const log = (text: string) =>
    `commit ${'a'.repeat(40)}\n\ndiff --git a/x y.py b/x y.py\n--- /dev/null\n+++ b/x y.py\t\n@@ -0,0 +4,2 @@\n+a\n+${text}\n`;
  test('place, commit and bot; each token once', () => {
    const found = judgeHistory(log(`T="${token}"`) + log(`U="${token}"`), null);
    assert.equal(found.map(({ file, line }) => `${file}:${line}`).join(), 'x y.py:5');
    assert.match(found[0]!.why, /commit aaaaaaaaaa\b/);
    assert.ok(!JSON.stringify(found).includes(token));
  });
  test('lines that went away, placeholders and revoked secrets of the present bot are none', () => {
    assert.deepEqual(judgeHistory(log('x').replace('+x', `-${token}`), null), []);
    assert.deepEqual(judgeHistory(log('123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11'), null), []);
    assert.deepEqual(judgeHistory(log(token).replaceAll('x y.py', 'tests/x.py'), null), []);
    assert.deepEqual(judgeHistory(log(token), randomToken(Number(token.split(':')[0]))), []);
    assert.equal(judgeHistory(log(token), token).length, 1);
  });
});

test('no more files, levels and bytes are read than the limits say, and it says so; of a long log the end', (t) => {
  const root = newFolder(t);
  for (const folder of ['a/b/c', 'odd-venv', 'node_modules/x'])
    mkdirSync(join(root, folder), { recursive: true });
  const paths = ['1.py', 'a/2.py', 'a/b/c/3.py', 'odd-venv/pyvenv.cfg', 'odd-venv/x.py', 'image.png'];
  for (const path of [...paths, 'node_modules/x/y.py', 'x.log']) writeFileSync(join(root, path), 'x = 1\n');
  writeFileSync(join(root, 'zero.py'), 'x\0');
  const read = (limits: object) => readProject(root, { ...LIMITS, ...limits });
  const { files, limits } = read({});
  const texts = Object.fromEntries(files.map(({ path, text }) => [path, text]));
  const text = 'x = 1\n';
  assert.deepEqual(texts, { '1.py': text, 'x.log': text, 'a/2.py': text, 'a/b/c/3.py': text });
  assert.deepEqual(limits, []);
  assert.equal(read({ files: 2 }).files.length, 2);
  assert.match(read({ files: 2 }).limits[0]!, /first 2 files/);
  assert.match(read({ depth: 1 }).limits[0]!, /more than 1 deep/);
  assert.match(read({ totalBytes: 3 }).limits[0]!, /only the first 1 files/);
  for (const path of ['1.py', 'x.log']) writeFileSync(join(root, path), `${'x'.repeat(1 << 20)}end\n`);
  const big = read({});
  assert.deepEqual(big.limits, ['1.py: it is larger than 1 MiB']);
  const log = big.files.find(({ path }) => path === 'x.log');
  assert.deepEqual([log?.text.length, log?.text.slice(-4), log?.isCut], [1 << 20, 'end\n', true]);
});

test('lines of shell', () => {
  const cases: [string, string[][]][] = [
    ['A=1 exec python -u "my bot.py" > log 2>&1', [['python', '-u', 'my bot.py']]],
    [
      'npm ci && node . # run',
      [
        ['npm', 'ci'],
        ['node', '.'],
      ],
    ],
    [
      'tini -g -- gunicorn app:app -w \u0024{N:-4} --bind :$PORT',
      [['tini', '-g', '--', 'gunicorn', 'app:app', '-w', '4', '--bind', ':$PORT']],
    ],
    ['', []],
  ];
  for (const [line, expected] of cases) assert.deepEqual(commandsOf(line), expected, line);
});
