/** The env file: its format, and reading any file without waiting for it. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: env files hold such references.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseEnvFile, readTextFile } from '../../src/config/files.ts';
import { newFolder } from '../support/place.ts';

test('what a text says, without a problem', () => {
  const cases: [string, Record<string, string>][] = [
    ['\uFEFFA=1\nB=two', { A: '1', B: 'two' }],
    ['A=1\r\nB="2"\r\n', { A: '1', B: '2' }],
    ['A=1\rB=2', { A: '1', B: '2' }],
    ['export A=1\n  export\tB=2\nexport A B', { A: '1', B: '2' }],
    [' A = 1 \nB=\t2\t', { A: '1', B: '2' }],
    ['A=\nB=""\nC= ', { A: '', B: '', C: '' }],
    ['# A=1\n   # x\nB=2', { B: '2' }],
    ['A=1 # x\nB="2" # "y"\nC= # z', { A: '1', B: '2', C: '' }],
    ['A=a#b\nB="a # b"\nC=#x', { A: 'a#b', B: 'a # b', C: '#x' }],
    ['A=a=b==\nA=2\na.b=1\nc-d=2', { A: '2', 'a.b': '1', 'c-d': '2' }],
    ["A='a\\n${B}\"'", { A: 'a\\n${B}"' }],
    ['A="a\\n\\"b\\"\\\\n\\$x\\d"', { A: 'a\n"b"\\n$x\\d' }],
    ['A=`"a" \'b\'`', { A: `"a" 'b'` }],
    ['A="1\n# 2\n3"\nB=\'x\r\ny\'\nC=4', { A: '1\n# 2\n3', B: 'x\ny', C: '4' }],
    ['A={"a": [1, 2]}\u2028', { A: '{"a": [1, 2]}' }],
    ['A=1\nB=${A}2\nC="x${A}"', { A: '1', B: '12', C: 'x1' }],
    ['FROM_ENV=file\nA=${FROM_ENV}/x', { FROM_ENV: 'file', A: 'env/x' }],
    ['A=${NOPE:-d}\nB=${FROM_ENV:-d}\nC=${NOPE}$x$1', { A: 'd', B: 'env', C: '${NOPE}$x$1' }],
    ['A="\\${FROM_ENV}"\nB=a\\nb', { A: '${FROM_ENV}', B: 'a\\nb' }],
    ['constructor=2\nA=${toString}', { constructor: '2', A: '${toString}' } as never],
    ['', {}],
  ];
  for (const [text, vars] of cases) {
    const parsed = parseEnvFile(text, { FROM_ENV: 'env' });
    assert.deepEqual([parsed.vars, parsed.problems], [vars, []], text);
  }
  assert.equal(Object.getOwnPropertyDescriptor(parseEnvFile('__proto__=1').vars, '__proto__')?.value, '1');
  assert.deepEqual(['A', 'B', 'C'].map(parseEnvFile('\nA="x\ny"\nB=1\nA=2').lineOf), [5, 4, null]);
});

test('a bad line spoils no other and is not shown', () => {
  const cases: [string, Record<string, string>, number[]][] = [
    ['A=1\n123456:SECRET\nB=2\n1C=3\n=x', { A: '1', B: '2' }, [2, 4, 5]],
    ['A="SECRET\nB=2', { A: '"SECRET', B: '2' }, [1]],
    ["B=2\nA='1'2", { A: "'1'2", B: '2' }, [2]],
    [`A=a\0b\nB=${'x'.repeat(200_000)}\nC=1`, { C: '1' }, [1, 2]],
  ];
  for (const [text, vars, lines] of cases) {
    const parsed = parseEnvFile(text);
    assert.deepEqual([parsed.vars, parsed.problems.map(({ line }) => line)], [vars, lines]);
    assert.ok(!JSON.stringify(parsed.problems).includes('SECRET'));
  }
});

test('any file is read or refused without waiting', async (t) => {
  const dir = newFolder(t);
  const at = (name: string): string => join(dir, name);
  writeFileSync(at('plain'), '\uFEFFA=1', { mode: 0o640 });
  assert.deepEqual(readTextFile(at('plain')), { kind: 'text', text: 'A=1', mode: 0o640 });
  symlinkSync(at('plain'), at('link'));
  symlinkSync(at('loop'), at('loop'));
  execFileSync('mkfifo', [at('fifo')]);
  mkdirSync(at('folder'));
  writeFileSync(at('big'), 'x'.repeat(2 ** 20));
  writeFileSync(at('bigger'), 'x'.repeat(2 ** 20 + 1));
  writeFileSync(at('utf16'), Buffer.from('\uFEFFA=1', 'utf16le'));
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(at('socket'), resolve));
  t.after(() => server.close());
  const cases: [string, RegExp][] = [
    [at('link'), /^text /],
    [at('big'), /^text /],
    ['/proc/self/status', /^text /],
    [at('nothing'), /^missing /],
    [at('plain/x'), /^missing /],
    [at('fifo'), /^irregular it is a FIFO, socket or device, not a file/],
    [at('folder'), /^irregular it is a folder/],
    [at('socket'), /^irregular /],
    ['/dev/zero', /^irregular /],
    [at('bigger'), /^unreadable .*1 MiB/],
    [at('utf16'), /^unreadable .*UTF-16/],
    [at('loop'), /^unreadable .*ELOOP/],
  ];
  for (const [path, expected] of cases) {
    const { kind, ...rest } = readTextFile(path);
    assert.match(`${kind} ${'problem' in rest ? rest.problem : ''}`, expected, path);
  }
});
