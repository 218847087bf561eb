// Requests whose end can be read in two ways, at the gateway and at the API. The bait behind each of them has a path that
// the gateway turns down: seen at the API, it was smuggled. And the API gets every request once, well formed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onUpstream } from '../support/gateway-bed.ts';
import { until } from '../support/wait.ts';
import { wire } from '../support/wire.ts';

// HTTP/1.0 without Host: only its token turns it down.
const BAIT = 'GET /bot1234567:smuggledsmuggledsmuggledsmuggled/bait HTTP/1.0\r\n\r\n';
const FORM = 'Content-Type: application/x-www-form-urlencoded\r\n';

interface Trick {
  name: string;
  /** Between the request line and Host, and the empty line. */
  head: string;
  body: string;
  /** Both readings are the same: it must work, and the API must get this body. */
  body0?: string;
  /** The request line's version. */
  version?: string;
}

const hex = (text: string) => text.length.toString(16);

const TRICKS: Trick[] = [
  {
    name: 'CL and TE',
    head: 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  {
    name: 'TE and CL',
    head: 'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  {
    name: 'CL over all, and TE',
    head: `Content-Length: ${BAIT.length + 5}\r\nTransfer-Encoding: chunked\r\n`,
    body: `0\r\n\r\n${BAIT}`,
  },
  {
    name: 'two CL, the first short',
    head: `Content-Length: 3\r\nContent-Length: ${3 + BAIT.length}\r\n`,
    body: `a=b${BAIT}`,
  },
  {
    name: 'two CL, the second short',
    head: `Content-Length: ${3 + BAIT.length}\r\nContent-Length: 3\r\n`,
    body: `a=b${BAIT}`,
  },
  { name: 'two CL in one field', head: `Content-Length: 3, ${3 + BAIT.length}\r\n`, body: `a=b${BAIT}` },
  { name: 'CL +3', head: 'Content-Length: +3\r\n', body: `a=b${BAIT}` },
  { name: 'CL -1', head: 'Content-Length: -1\r\n', body: `a=b${BAIT}` },
  { name: 'CL 0x3', head: 'Content-Length: 0x3\r\n', body: `a=b${BAIT}` },
  { name: 'CL 3.0', head: 'Content-Length: 3.0\r\n', body: `a=b${BAIT}` },
  { name: 'CL 3e0', head: 'Content-Length: 3e0\r\n', body: `a=b${BAIT}` },
  { name: 'CL empty', head: 'Content-Length: \r\n', body: BAIT },
  { name: 'CL with a space within', head: 'Content-Length: 1 0\r\n', body: `0123456789${BAIT}` },
  { name: 'CL beyond 2^64', head: 'Content-Length: 18446744073709551619\r\n', body: `a=b${BAIT}` },
  { name: 'a space before the colon', head: 'Content-Length : 3\r\n', body: `a=b${BAIT}` },
  {
    name: 'a space before the colon of TE',
    head: 'Content-Length: 5\r\nTransfer-Encoding : chunked\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  { name: 'TE xchunked', head: `Transfer-Encoding: xchunked\r\n`, body: `0\r\n\r\n${BAIT}` },
  {
    name: 'TE xchunked and CL',
    head: 'Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  {
    name: 'TE chunked, identity',
    head: 'Transfer-Encoding: chunked, identity\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  {
    name: 'TE identity, and CL',
    head: 'Transfer-Encoding: identity\r\nContent-Length: 5\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  { name: 'TE gzip, chunked', head: 'Transfer-Encoding: gzip, chunked\r\n', body: `0\r\n\r\n${BAIT}` },
  {
    name: 'TE twice',
    head: 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  {
    name: 'TE with a tab',
    head: 'Transfer-Encoding:\tchunked\t\r\nContent-Length: 5\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  {
    name: 'TE with a vertical tab',
    head: 'Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  {
    name: 'TE in quotes',
    head: 'Transfer-Encoding: "chunked"\r\nContent-Length: 5\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  {
    name: 'TE behind a bare LF',
    head: 'X-A: b\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  {
    name: 'TE behind a bare CR',
    head: 'X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  {
    name: 'TE folded',
    head: 'Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n',
    body: `0\r\n\r\n${BAIT}`,
  },
  { name: 'CL folded', head: 'Content-Length: 3\r\n 0\r\n', body: `a=b${BAIT}` },
  { name: 'a folded header', head: 'X-A: b\r\n Content-Length: 3\r\n', body: BAIT },
  {
    name: 'CL nominated by Connection',
    head: `Connection: Content-Length\r\nContent-Length: ${BAIT.length}\r\n`,
    body: BAIT,
    body0: BAIT,
  },
  {
    name: 'TE nominated by Connection',
    head: 'Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n',
    body: `${hex(BAIT)}\r\n${BAIT}\r\n0\r\n\r\n`,
    body0: BAIT,
  },
  {
    name: 'Host nominated by Connection',
    head: 'Connection: Host, Content-Type\r\nContent-Length: 3\r\n',
    body: 'a=b',
  },
  { name: 'a bare LF ends the head', head: 'X-A: b\r\n\nContent-Length: 3\r\n', body: `a=b${BAIT}` },
  {
    name: 'chunk of a negative size',
    head: 'Transfer-Encoding: chunked\r\n',
    body: `-1\r\nab\r\n0\r\n\r\n${BAIT}`,
  },
  {
    name: 'chunk size with 0x',
    head: 'Transfer-Encoding: chunked\r\n',
    body: `0x3\r\na=b\r\n0\r\n\r\n${BAIT}`,
  },
  {
    name: 'chunk size beyond 2^64',
    head: 'Transfer-Encoding: chunked\r\n',
    body: `10000000000000003\r\na=b\r\n0\r\n\r\n${BAIT}`,
  },
  {
    name: 'chunk size with a space before',
    head: 'Transfer-Encoding: chunked\r\n',
    body: ` 3\r\na=b\r\n0\r\n\r\n${BAIT}`,
  },
  {
    name: 'chunk without a size',
    head: 'Transfer-Encoding: chunked\r\n',
    body: `\r\na=b\r\n0\r\n\r\n${BAIT}`,
  },
  {
    name: 'chunk without CRLF behind',
    head: 'Transfer-Encoding: chunked\r\n',
    body: `3\r\na=bXX0\r\n\r\n${BAIT}`,
  },
  {
    name: 'chunk longer than its size',
    head: 'Transfer-Encoding: chunked\r\n',
    body: `3\r\na=b&c=d\r\n0\r\n\r\n${BAIT}`,
  },
  {
    name: 'chunk lines that end in a bare LF',
    head: 'Transfer-Encoding: chunked\r\n',
    body: `3\na=b\n0\n\n${BAIT}`,
  },
  {
    name: 'chunk extension with a bare LF',
    head: 'Transfer-Encoding: chunked\r\n',
    body: `3;\nxx\r\na=b\r\n0\r\n\r\n${BAIT}`,
  },
  {
    name: 'chunk extension with a bare CR',
    head: 'Transfer-Encoding: chunked\r\n',
    body: `3;a\rb\r\na=b\r\n0\r\n\r\n${BAIT}`,
  },
  {
    name: 'chunk extension',
    head: 'Transfer-Encoding: chunked\r\n',
    body: '3;a="b;\\"c";d\r\na=b\r\n0;last\r\n\r\n',
    body0: 'a=b',
  },
  {
    name: 'leading zeros and capitals',
    head: 'Transfer-Encoding: Chunked\r\n',
    body: `000003\r\na=b\r\n0A\r\n&123456789\r\n000\r\n\r\n`,
    body0: 'a=b&123456789',
  },
  {
    name: 'trailers that look like headers',
    head: 'Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n',
    body: `3\r\na=b\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n\r\n`,
  },
  {
    name: 'trailers',
    head: 'Transfer-Encoding: chunked\r\nTrailer: Host\r\n',
    body: `3\r\na=b\r\n0\r\nHost: evil\r\nX-Trailer: 1\r\n\r\n`,
    body0: 'a=b',
  },
  { name: 'a bait in a body', head: `Content-Length: ${BAIT.length}\r\n`, body: BAIT, body0: BAIT },
  {
    name: 'a bait in a chunk',
    head: 'Transfer-Encoding: chunked\r\n',
    body: `${hex(BAIT)}\r\n${BAIT}\r\n0\r\n\r\n`,
    body0: BAIT,
  },
  { name: 'a second request behind', head: 'Content-Length: 3\r\n', body: `a=b${BAIT}`, body0: 'a=b' },
  {
    name: 'Expect and a body at once',
    head: `Expect: 100-continue\r\nContent-Length: ${BAIT.length}\r\n`,
    body: BAIT,
    body0: BAIT,
  },
  {
    name: 'Expect of something else',
    head: `Expect: 200-ok\r\nContent-Length: ${BAIT.length}\r\n`,
    body: BAIT,
  },
  {
    name: 'Upgrade and a body',
    head: `Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n`,
    body: `a=b${BAIT}`,
  },
  {
    name: 'HTTP/1.0 with TE',
    head: 'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n',
    body: `0\r\n\r\n${BAIT}`,
    version: 'HTTP/1.0',
  },
  {
    name: 'a header with a line in its value',
    head: `X-A: b\\r\\nContent-Length: 0\r\nContent-Length: 3\r\n`,
    body: 'a=b',
    body0: 'a=b',
  },
];

for (const side of ['inside', 'outside'] as const) {
  test(`request smuggling from ${side} the tree: nothing gets past`, async (t) => {
    const { up, gate } = await onUpstream(t);
    for (const trick of TRICKS) {
      for (const verb of ['POST', 'GET']) {
        const before = up.of('carrier').length;
        const connection = wire(gate.dial(side));
        const line = `${verb} /bot${gate.token}/carrier ${trick.version ?? 'HTTP/1.1'}`;
        const type = trick.head.includes('Content-Type') ? '' : FORM;
        await connection.send(`${line}\r\nHost: ${gate.host}\r\n${type}${trick.head}\r\n${trick.body}`);
        const shown = () => `${side}, ${verb}, ${trick.name}: ${connection.text().slice(0, 500)}`;
        await until('an answer or the end', () => connection.ended() || connection.text() !== '', {
          ms: 5000,
          seen: shown,
        }).catch((error: unknown) => {
          // Only what may wait for more of its body need not be answered.
          if (trick.body0 !== undefined || !/CL|chunk|fold/i.test(trick.name)) throw error;
        });
        const [answer] = connection.answers().filter(({ status }) => status >= 200);
        const fresh = up.of('carrier').slice(before);
        if (trick.body0 !== undefined && side === 'inside') {
          await connection.until(1);
          assert.equal(connection.answers().filter(({ status }) => status >= 200)[0]?.status, 200, shown());
          const [whole] = up.of('carrier').slice(before);
          assert.equal(whole?.body.toString(), trick.body0, shown());
        }
        assert.ok(fresh.length <= 1, `${shown()}: carried out ${fresh.length} times`);
        for (const seen of fresh)
          assert.ok(
            !seen.target.includes('bait') && !seen.headers.some(([, value]) => value.includes('bait')),
          );
        if (answer && trick.body0 === undefined)
          assert.ok(answer.status < 500 || answer.status === 501, shown());
        connection.close();
      }
    }
    assert.deepEqual(up.of('bait'), [], 'smuggled');
    assert.deepEqual(up.unreadable, [], 'the API got what it cannot read');
    assert.equal(up.mostPolls(), 1);
    assert.equal(gate.run.ended(), null, gate.run.seen());
  });
}

test('header injection by encoded line ends in path and query', async (t) => {
  const { up, gate } = await onUpstream(t);
  const targets = [
    `/bot${gate.token}/carrier?x=%0d%0aX-Injected:%201%0d%0a%0d%0aGET%20/bait`,
    `/bot${gate.token}/carrier%0d%0aX-Injected:%201`,
    `/bot${gate.token}%0d%0a/carrier`,
    `/bot${gate.token}/carrier%20HTTP/1.1%0d%0aX-Injected:1`,
    `/bot${gate.token}/carrier\u0085X-Injected:1`,
    `/bot${gate.token}/carrier?x=č\u560d\u560aX-Injected:1`,
  ];
  for (const target of targets) {
    const connection = wire(gate.dial('inside'));
    await connection.send(
      Buffer.from(`GET ${target} HTTP/1.1\r\nHost: ${gate.host}\r\nConnection: close\r\n\r\n`, 'utf8'),
    );
    await until('an answer or the end', () => connection.ended() || connection.text() !== '');
    connection.close();
  }
  for (const seen of up.seen) assert.ok(!seen.headers.some(([name]) => /injected/i.test(name)), seen.target);
  assert.doesNotMatch(up.rawText(), /^GET \/bait/m);
  assert.deepEqual(up.unreadable, []);
});
