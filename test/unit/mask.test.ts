import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createMasker, maskText } from '../../src/output/mask.ts';

const SECRET = 'AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1';
const OWN = `7312345678:${SECRET}`;
const OWN_SECOND = '42:sealed_for-the-gateway';
const FOREIGN = '987654321:BBExxq_abcdefghijklmnopqrstuvwxyz12';

/** Everything that went through, the text cut at the given places. */
function through(text: string, cutsAt: readonly number[], tokens: readonly string[]): string {
  const masker = createMasker(tokens);
  const bytes = Buffer.from(text, 'latin1');
  // The reader uses one buffer for all its reads: what is held must be a copy.
  const reused = Buffer.alloc(bytes.length);
  const out: Buffer[] = [];
  let from = 0;
  for (const to of [...cutsAt, bytes.length]) {
    reused.fill(0x23);
    bytes.copy(reused, 0, from, to);
    out.push(Buffer.from(masker.push(reused.subarray(0, to - from))));
    from = to;
  }
  out.push(masker.flush());
  assert.equal(masker.held, 0);
  return Buffer.concat(out).toString('latin1');
}

interface Span {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** The same by regular expressions over the whole text; slow and plain. */
function reference(text: string, tokens: readonly string[]): string {
  const shape = /(?:(?<=bot\d{5,24})(?::|%3[Aa])[\w-]{8,}|(?<=\d{5})(?::|%3[Aa])[\w-]{20,})/g;
  const shapes: Span[] = [];
  for (const found of text.matchAll(shape))
    shapes.push({ from: found.index, to: found.index + found[0].length, text: ':…' });
  const own: Span[] = [];
  let next = 0;
  const mark = (at: number, to: number, idLength: number) => {
    const encoded = /\d{5}%3[Aa]$/.test(text.slice(Math.max(0, at - 8), at));
    const from = idLength > 0 ? at + idLength : encoded ? at - 3 : at;
    while (next < shapes.length && shapes[next]!.to <= from) next++;
    while (next > 0 && shapes[next - 1]!.to > from) next--;
    if (next < shapes.length && shapes[next]!.from < to) return;
    own.push({ from, to, text: idLength > 0 || encoded ? ':…' : '…' });
  };
  for (const token of tokens) {
    const [id, secret] = token.split(':') as [string, string];
    const needles =
      secret.length >= 16 ? [secret] : [':', '%3A', '%3a'].map((between) => id + between + secret);
    const idLength = secret.length >= 16 ? 0 : id.length;
    for (const needle of needles) {
      for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length))
        mark(at, at + needle.length, idLength);
      for (let size = needle.length - 1; size >= needle.length - secret.length + 8; size--) {
        if (!text.endsWith(needle.slice(0, size))) continue;
        mark(text.length - size, text.length, idLength);
        break;
      }
    }
  }
  let out = '';
  let at = 0;
  for (const span of [...shapes, ...own].sort((a, b) => a.from - b.from || b.to - a.to)) {
    if (span.from < at) continue;
    out += text.slice(at, span.from) + span.text;
    at = span.to;
  }
  return asBytes(out + text.slice(at));
}

/** `…` as its three UTF-8 bytes, every other character as its one byte. */
function asBytes(text: string): string {
  return text.replaceAll('…', '\u00e2\u0080\u00a6');
}

/** Pseudo-random numbers from a seed (mulberry32), so that a failure can be repeated. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

describe('one text', () => {
  const api = 'https://api.telegram.org/bot';
  const cases: [string, string, string][] = [
    ['our token', `token ${OWN} ok`, 'token 7312345678:… ok'],
    ['a foreign token', `token=${FOREIGN}\n`, 'token=987654321:…\n'],
    ['in a path of the API', `${api}${FOREIGN}/getMe`, `${api}987654321:…/getMe`],
    ['a short secret behind bot', '/bot12345:abcdefgh/x', '/bot12345:…/x'],
    ['too short behind bot', '/bot12345:abcdefg/x', '/bot12345:abcdefg/x'],
    ['too short elsewhere', '12345:abcdefghijklmnopqrs ', '12345:abcdefghijklmnopqrs '],
    ['just long enough', '12345:abcdefghijklmnopqrst ', '12345:… '],
    ['four digits', '1234:abcdefghijklmnopqrstuvwxyz', '1234:abcdefghijklmnopqrstuvwxyz'],
    ['encoded colons', `bot${FOREIGN.replace(':', '%3A')} 54321%3a${SECRET}`, 'bot987654321:… 54321:…'],
    ['our secret alone', `x${SECRET}y`, 'x…y'],
    ['a beginning of our secret at the end', `12 ${SECRET.slice(0, 8)}`, '12 …'],
    ['a shorter beginning', `12 ${SECRET.slice(0, 7)}`, `12 ${SECRET.slice(0, 7)}`],
    ['times of day', '2024-05-05 12:34:56.123456:INFO', '2024-05-05 12:34:56.123456:INFO'],
    ['back to back', `${FOREIGN}${FOREIGN}`, '987654321:…:…'],
    ['a short token of ours', '12345:TEST and 123:TEST', '12345:… and 123:TEST'],
    ['a short token of ours, encoded', '/bot12345%3ATEST/x', '/bot12345:…/x'],
    ['characters of more bytes', `Grüße ${OWN} 🙂`, 'Grüße 7312345678:… 🙂'],
  ];
  for (const [name, text, expected] of cases)
    test(name, () => assert.equal(maskText(text, [OWN, '12345:TEST']), expected));

  test('without tokens of our own the shape is masked all the same', () => {
    assert.equal(maskText(`a ${FOREIGN}`, []), 'a 987654321:…');
  });
});

describe('a stream', () => {
  test('a token split at every byte, in two and in single bytes', () => {
    const tokens = [OWN, '12345:TEST', OWN_SECOND];
    for (const token of [OWN, FOREIGN, OWN.replace(':', '%3A'), `bot${FOREIGN}`, '12345:TEST', OWN_SECOND]) {
      const text = `before ${token} after\n`;
      const expected = reference(text, tokens);
      assert.ok(expected.includes(asBytes('…')));
      for (let at = 0; at <= text.length; at++)
        assert.equal(through(text, [at], tokens), expected, `at ${at}`);
      const everywhere = Array.from({ length: text.length }, (_, at) => at);
      assert.equal(through(text, everywhere, tokens), expected);
    }
  });

  test('nothing to mask: the very buffer comes back, and nothing is held', () => {
    const masker = createMasker([OWN]);
    const chunk = Buffer.from('2024-05-05 12:34:56 update 1234567 handled\n');
    assert.deepEqual([masker.push(chunk).buffer, masker.push(chunk).length], [chunk.buffer, chunk.length]);
    assert.equal(masker.held, 0);
  });

  test('a prompt is held until it is released, and the token goes on to be known', () => {
    const masker = createMasker([]);
    assert.equal(masker.push(Buffer.from('12345:abc')).toString(), '12345:');
    assert.equal(masker.held, 3);
    assert.equal(masker.release().toString(), 'abc');
    assert.equal(masker.held, 0);
    assert.equal(masker.push(Buffer.from('defghijklmnopqrst')).toString(), '…');
    assert.equal(masker.push(Buffer.from('uvw xyz')).toString(), ' xyz');
  });

  test('eight bytes of our own secret are not released, seven are', () => {
    const masker = createMasker([OWN]);
    assert.equal(masker.push(Buffer.from(`> ${SECRET.slice(0, 7)}`)).toString(), '> ');
    assert.equal(masker.release().toString(), SECRET.slice(0, 7));
    assert.equal(masker.push(Buffer.from(SECRET.slice(7, 20))).toString(), '');
    assert.equal(masker.release().toString(), '');
    assert.equal(masker.held, 13);
    assert.equal(masker.push(Buffer.from(`${SECRET.slice(20)}.`)).toString(), '….');
    masker.push(Buffer.from(`7312345678:${SECRET.slice(0, 12)}`));
    assert.equal(masker.release().toString(), '');
    assert.equal(masker.flush().toString(), '…');
  });

  test('a secret without end is swallowed, not stored', () => {
    const masker = createMasker([OWN]);
    const blob = Buffer.alloc(65536, 'x');
    assert.equal(masker.push(Buffer.from('99999:')).toString(), '99999:');
    let out = '';
    for (let i = 0; i < 100; i++) {
      out += masker.push(blob).toString();
      assert.equal(masker.held, 0);
    }
    out += masker.push(Buffer.from('77777:AAAAAAAAAABBBBBBBBBB!')).toString();
    assert.equal(out, '…:…!');
  });

  test('random texts cut at random places come out as the reference has them', () => {
    const pieces = [OWN, FOREIGN, SECRET, SECRET.slice(0, 9), SECRET.slice(3, 30), OWN_SECOND, '12345:TEST'];
    pieces.push(
      '12345',
      '1234',
      '9',
      'bot',
      ':',
      '%3A',
      '%3a',
      '%3',
      '%',
      '3A',
      'a1:',
      'bot12345:',
      'abcdefgh',
    );
    pieces.push('Zz_-09', 'abcdefghijklmnopqrst', ' ', '\n', '\u00e2', '\u0000', '12:34:56 ', '7312345678');
    pieces.push('7312345678:', '42:', '1'.repeat(30), 'bot7312345678%3A', 'sealed_for-the');
    const tokenSets = [[OWN, OWN_SECOND, '12345:TEST'], [OWN], [], ['12345:TEST'], ['5:1a', OWN]];
    const rounds = 5_000;
    for (let seed = 1; seed <= rounds; seed++) {
      const random = randomFrom(seed);
      let text = '';
      for (let n = random(14); n >= 0; n--) {
        const piece = pieces[random(pieces.length)]!;
        text += random(5) === 0 ? piece.slice(random(piece.length)) : piece;
        if (random(9) === 0) text += piece.repeat(random(4));
        if (random(40) === 0) text += piece.repeat(1 + random(80));
      }
      const cutsAt: number[] = [];
      for (let n = random(8); n > 0; n--) cutsAt.push(random(text.length + 1));
      cutsAt.sort((a, b) => a - b);
      const tokens = tokenSets[random(tokenSets.length)]!;
      assert.equal(
        through(text, cutsAt, tokens),
        reference(text, tokens),
        `seed ${seed}: ${JSON.stringify({ text, cutsAt, tokens })}`,
      );
    }
  });
});
