// What an HTTP client costs the memory of a process that makes few calls: Node's own against undici.
// Backs the choice in src/telegram/transport.ts.
import { createServer } from 'node:http';
import { memoryOf } from '../memory.mjs';
import { probe } from '../scene.mjs';
import { inTurns, line } from '../statistics.mjs';

export const client = {
  name: 'client',
  about: "memory of Node's own HTTP client and of undici after 3 calls",
  async run({ rounds }) {
    const server = createServer((request, response) =>
      request.resume().once('end', () => response.end('{"ok":true}')),
    );
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${server.address().port}/`;
    const measure = (name) => () => probe('client.mjs', [name, url], (pid) => memoryOf([pid]));
    const found = await inTurns(rounds, {
      http: measure('http'),
      undici: measure('undici'),
      none: measure('none'),
    });
    server.close();
    const more = (name, key) => found[name].map((it, i) => it[key] - found.none[i][key]);
    return [
      ['RSS', 'rss'],
      ['private', 'private'],
    ].map(([title, key]) =>
      line({
        row: 'client',
        what: `3 calls by node:http: ${title} beyond a process without`,
        unit: 'MiB',
        ours: more('http', key),
        against: 'undici',
        theirs: more('undici', key),
      }),
    );
  },
};
