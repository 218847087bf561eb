/** The env file: its format, and reading any file without waiting for it. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: env files hold such references.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { LARGEST_FILE_BYTES, parseEnvFile, readTextFile } from '../../src/config/files.ts';

describe('format', () => {
  const cases: [string, string, Record<string, string>][] = [
    ['plain', 'A=1\nB=two', { A: '1', B: 'two' }],
    ['byte order mark', '\uFEFFA=1', { A: '1' }],
    ['CRLF', 'A=1\r\nB="2"\r\n', { A: '1', B: '2' }],
    ['bare CR', 'A=1\rB=2', { A: '1', B: '2' }],
    ['export', 'export A=1\n  export\tB=2', { A: '1', B: '2' }],
    ['export without a value', 'A=1\nexport A B', { A: '1' }],
    ['spaces', ' A = 1 \nB=\t2\t', { A: '1', B: '2' }],
    ['empty', 'A=\nB=""\nC= ', { A: '', B: '', C: '' }],
    ['comment lines', '# A=1\n   # x\nB=2', { B: '2' }],
    ['comment behind a value', 'A=1 # x\nB="2" # "y"\nC= # z', { A: '1', B: '2', C: '' }],
    ['# within a value', 'A=a#b\nB="a # b"\nC=#x', { A: 'a#b', B: 'a # b', C: '#x' }],
    ['= within a value', 'A=a=b==', { A: 'a=b==' }],
    ['single quotes are literal', "A='a\\n${B}\"'", { A: 'a\\n${B}"' }],
    ['double quotes know escapes', 'A="a\\n\\"b\\"\\\\n\\$x\\d"', { A: 'a\n"b"\\n$x\\d' }],
    ['backticks', 'A=`"a" \'b\'`', { A: `"a" 'b'` }],
    ['lines within quotes', 'A="1\n# 2\n3"\nB=\'x\r\ny\'\nC=4', { A: '1\n# 2\n3', B: 'x\ny', C: '4' }],
    ['last one wins', 'A=1\nA=2', { A: '2' }],
    ['dotted and dashed names', 'a.b=1\nc-d=2', { 'a.b': '1', 'c-d': '2' }],
    ['JSON', 'A={"a": [1, 2]}', { A: '{"a": [1, 2]}' }],
    ['reference to an earlier name', 'A=1\nB=${A}2\nC="x${A}"', { A: '1', B: '12', C: 'x1' }],
    ['reference to the environment', 'A=${FROM_ENV}/x', { A: 'env/x' }],
    ['the environment wins in references', 'FROM_ENV=file\nA=${FROM_ENV}', { FROM_ENV: 'file', A: 'env' }],
    ['reference with a default', 'A=${NOPE:-d}\nB=${FROM_ENV:-d}', { A: 'd', B: 'env' }],
    ['unknown references stay', 'A=${NOPE}$x$1', { A: '${NOPE}$x$1' }],
    ['escaped reference', 'A="\\${FROM_ENV}"', { A: '${FROM_ENV}' }],
    ['token', 'BOT_TOKEN=123456:AA-_bb', { BOT_TOKEN: '123456:AA-_bb' }],
    ['no end of line, nothing', '', {}],
  ];
  for (const [title, text, vars] of cases) {
    test(title, () => {
      const parsed = parseEnvFile(text, { FROM_ENV: 'env' });
      assert.deepEqual(parsed.vars, vars);
      assert.deepEqual(parsed.problems, []);
    });
  }

  test('a bad line spoils no other and is not shown', () => {
    const parsed = parseEnvFile('A=1\n123456:SECRET\nB=2\n1C=3\n=x');
    assert.deepEqual(parsed.vars, { A: '1', B: '2' });
    assert.deepEqual(
      parsed.problems.map(({ line }) => line),
      [2, 4, 5],
    );
    assert.ok(!JSON.stringify(parsed.problems).includes('SECRET'));
  });
  test('a quote that is never closed ends with its line', () => {
    const parsed = parseEnvFile('A="1\nB=2');
    assert.deepEqual(parsed.vars, { A: '"1', B: '2' });
    assert.deepEqual(parsed.problems, [{ line: 1, problem: 'the quote is never closed' }]);
  });
  test('text after the closing quote is reported', () => {
    const parsed = parseEnvFile('A="1"2');
    assert.deepEqual(parsed.vars, { A: '1' });
    assert.equal(parsed.problems.length, 1);
  });
  test('a NUL and an overlong value never reach an environment', () => {
    const parsed = parseEnvFile(`A=a\0b\nB=${'x'.repeat(200_000)}\nC=1`);
    assert.deepEqual(parsed.vars, { C: '1' });
    assert.equal(parsed.problems.length, 2);
  });
  test('names of Object.prototype are names like others', () => {
    const { vars } = parseEnvFile('__proto__=1\nconstructor=2\nA=${toString}');
    assert.equal(Object.getOwnPropertyDescriptor(vars, '__proto__')?.value, '1');
    assert.equal(vars.A, '${toString}');
  });
  test('lines are counted, also behind values of several lines', () => {
    assert.deepEqual(parseEnvFile('\nA="x\ny"\nB=1\nA=2').lines, { A: 5, B: 4 });
  });
  test('hostile text takes no time', () => {
    const doubling = Array.from({ length: 60 }, (_, at) => `A${at + 1}=\${A${at}}\${A${at}}`).join('\n');
    const texts = [
      `A0=xxxxxxxxxx\n${doubling}`,
      `A=${'x'.repeat(100_000)}\n${`B=${'${A}'.repeat(2_000)}\n`.repeat(100)}`,
      'A="\n'.repeat(200_000),
      `export${' '.repeat(1e6)}=`,
      `A=${'${B:-'.repeat(150_000)}`,
      `A=1${' '.repeat(1e6)}x`,
      `${' '.repeat(1e6)}x`,
      'A=\\"\n'.repeat(150_000),
    ];
    const startedMs = performance.now();
    for (const text of texts) parseEnvFile(text);
    // Quadratic time would be minutes; a busy machine is not.
    assert.ok(performance.now() - startedMs < 20_000, `${performance.now() - startedMs} ms`);
  });
});

describe('reading', () => {
  let dir = '';
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'singlepoll-test-'));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));
  const at = (name: string): string => join(dir, name);

  test('a file, without its byte order mark', () => {
    writeFileSync(at('plain'), '\uFEFFA=1', { mode: 0o640 });
    assert.deepEqual(readTextFile(at('plain')), { kind: 'text', text: 'A=1', mode: 0o640 });
  });
  test('a symlink to a file', () => {
    writeFileSync(at('target'), 'x');
    symlinkSync(at('target'), at('link'));
    assert.equal(readTextFile(at('link')).kind, 'text');
  });
  test('nothing there', () => {
    assert.equal(readTextFile(at('nothing')).kind, 'missing');
    assert.equal(readTextFile(join(at('plain'), 'x')).kind, 'missing');
  });
  test('a FIFO does not hang', () => {
    execFileSync('mkfifo', [at('fifo')]);
    const file = readTextFile(at('fifo'));
    assert.deepEqual(file, { kind: 'irregular', problem: 'it is a FIFO, socket or device, not a file' });
  });
  test('a folder, a device, a socket', async () => {
    mkdirSync(at('folder'));
    assert.equal(readTextFile(at('folder')).kind, 'irregular');
    assert.equal(readTextFile('/dev/zero').kind, 'irregular');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(at('socket'), resolve));
    try {
      assert.equal(readTextFile(at('socket')).kind, 'irregular');
    } finally {
      server.close();
    }
  });
  test('as much as allowed, and not a byte more', () => {
    writeFileSync(at('big'), 'x'.repeat(LARGEST_FILE_BYTES));
    assert.equal(readTextFile(at('big')).kind, 'text');
    writeFileSync(at('bigger'), 'x'.repeat(LARGEST_FILE_BYTES + 1));
    const file = readTextFile(at('bigger'));
    assert.ok(file.kind === 'unreadable' && /1 MiB/.test(file.problem));
  });
  test('UTF-16 is named', () => {
    writeFileSync(at('utf16'), Buffer.from('\uFEFFA=1', 'utf16le'));
    const file = readTextFile(at('utf16'));
    assert.ok(file.kind === 'unreadable' && /UTF-16/.test(file.problem));
  });
  test('a symlink to itself', () => {
    symlinkSync(at('loop'), at('loop'));
    const file = readTextFile(at('loop'));
    assert.ok(file.kind === 'unreadable' && /symlink/.test(file.problem));
  });
});
