/** Tokens in a stream: masked wherever it is cut, nothing else touched, nothing held for ever. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createMasker, maskText } from '../../src/output/mask.ts';
import { createRandom } from '../simulation/random.ts';

const SECRET = 'AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1';
const OWN = `7312345678:${SECRET}`;
const OWN_SECOND = '42:sealed_for-the-gateway';
const FOREIGN = '987654321:BBExxq_abcdefghijklmnopqrstuvwxyz12';

/** Everything that went through, the bytes cut at the given places. */
function through(bytes: Buffer, cutsAt: readonly number[], tokens: readonly string[]): string {
  const masker = createMasker(tokens);
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
  return Buffer.concat(out).toString();
}

describe('one text, and the same split at every byte', () => {
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
    ['a secret that ends in the id of the next', `${FOREIGN}34567:${SECRET}`, '987654321:…:…'],
    ['characters of more bytes', `Grüße ${OWN} 🙂`, 'Grüße 7312345678:… 🙂'],
  ];
  const tokens = [OWN, OWN_SECOND];
  for (const [name, text, expected] of cases)
    test(name, () => {
      assert.equal(maskText(text, tokens), expected);
      const bytes = Buffer.from(text);
      for (let at = 0; at <= bytes.length; at++)
        assert.equal(through(bytes, [at], tokens), expected, `at ${at}`);
      const everywhere = Array.from(bytes, (_, at) => at);
      assert.equal(through(bytes, everywhere, tokens), expected);
    });

  test('without tokens of our own the shape is masked all the same', () => {
    assert.equal(maskText(`a ${FOREIGN}`, []), 'a 987654321:…');
  });
});

describe('a stream', () => {
  test('nothing to mask: the bytes of the chunk come back uncopied, and nothing is held', () => {
    const masker = createMasker([OWN]);
    const chunk = Buffer.from('2024-05-05 12:34:56 update 1234567 handled\n');
    const out = masker.push(chunk);
    assert.equal(out.buffer, chunk.buffer);
    assert.deepEqual([out.byteOffset, out.length], [chunk.byteOffset, chunk.length]);
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
    assert.equal(masker.push(Buffer.from('99999:')).toString(), '99999:');
    let out = '';
    for (let i = 0; i < 100; i++) {
      out += masker.push(Buffer.alloc(65536, 'x')).toString();
      assert.equal(masker.held, 0);
    }
    out += masker.push(Buffer.from('77777:AAAAAAAAAABBBBBBBBBB!')).toString();
    assert.equal(out, '…:…!');
  });

  test('random texts: however they are cut the same comes out, without a token, with all that is none', () => {
    const secrets = [OWN, FOREIGN, SECRET, OWN_SECOND];
    const parts =
      '12345:TEST 12345 1234 bot : %3A %3a %3 % 3A a1: bot12345: abcdefgh Zz_-09 abcdefghijklmnopqrst \n â 12:34:56 7312345678 7312345678: 42: bot7312345678%3A sealed_for-the'
        .split(' ')
        .concat(SECRET.slice(0, 9), SECRET.slice(3, 30), '1'.repeat(30), ' ');
    const pieces = [...secrets, ...parts];
    const tokenSets = [[OWN, OWN_SECOND], [OWN], [], [OWN_SECOND]];
    for (let seed = 1; seed <= 4_000; seed++) {
      const { int } = createRandom(seed);
      const random = (below: number) => int(0, below - 1);
      let text = '';
      for (let n = random(14); n >= 0; n--) {
        const piece = pieces[random(pieces.length)]!;
        text += random(5) === 0 ? piece.slice(random(piece.length)) : piece;
        if (random(9) === 0) text += piece.repeat(random(4));
        if (random(40) === 0) text += piece.repeat(1 + random(80));
      }
      const bytes = Buffer.from(text);
      const cutsAt = Array.from({ length: random(8) }, () => random(bytes.length + 1)).sort((a, b) => a - b);
      const tokens = tokenSets[random(tokenSets.length)]!;
      const whole = maskText(text, tokens);
      const seen = () => `seed ${seed}: ${JSON.stringify({ text, cutsAt, tokens })}`;
      assert.equal(through(bytes, cutsAt, tokens), whole, seen());
      assert.doesNotMatch(whole, /\d{5}(?::|%3[Aa])[\w-]{20}/, seen());
      if (tokens.includes(OWN)) assert.ok(!whole.includes(SECRET), seen());
      // What is printed is the text with some runs of a secret's characters, and separators, taken out.
      let at = 0;
      for (const kept of whole.split(/:?…/)) {
        const found = text.indexOf(kept, at);
        assert.ok(found >= 0 && /^[\w:%-]*$/.test(text.slice(at, found)), seen());
        at = found + kept.length;
      }
    }
  });
});
