// The other end of --alert-url: keeps what was posted, and behaves as badly as the test wants.
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { TestContext } from 'node:test';
import { listen } from './place.ts';

interface HookPost {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** `answer`: the status that it gives; null: none ever. */
export async function openHook(t: TestContext, answer: () => number | null = () => 200) {
  const posts: HookPost[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('error', () => {});
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      posts.push({ method, path: url, headers, body: Buffer.concat(chunks).toString() });
      const status = answer();
      if (status !== null) response.writeHead(status).end(`no such hook: ${url}`);
    });
  });
  return {
    url: `http://127.0.0.1:${await listen(t, server)}`,
    posts,
    json: (index: number) => JSON.parse(posts[index]?.body ?? 'null') as Record<string, unknown>,
  };
}
