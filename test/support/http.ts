// Asking the health endpoint of a run, and what a healthy answer of each kind looks like.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { type IncomingHttpHeaders, request } from 'node:http';
import type { Running } from './cli.ts';

/** Rejects with the system's error where nobody listens, and after 5 s. */
export function get(
  port: number,
  path: string,
  options: { method?: string; headers?: Record<string, string>; host?: string } = {},
) {
  return new Promise<{ status: number; headers: IncomingHttpHeaders; body: string }>((resolve, reject) => {
    const asked = request(
      { host: '127.0.0.1', port, path, agent: false, timeout: 5_000, ...options },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString(),
          }),
        );
      },
    );
    asked.on('timeout', () => asked.destroy(new Error(`no answer from ${path} within 5 s`)));
    asked.on('error', reject);
    asked.end();
  });
}

/** The port that `--http 0` has found. */
export async function httpPort(run: Running): Promise<number> {
  await run.waitFor(/\[http\] open at http:\/\/\S+:\d+:/);
  return Number(/\[http\] open at http:\/\/\S+:(\d+):/.exec(run.stderr())?.[1]);
}

/** Status of a path; 0 where nobody listens. */
export const code = (port: number, path: string): Promise<number> =>
  get(port, path).then(
    ({ status }) => status,
    () => 0,
  );

/** Fails where promtool, Prometheus' own checker, finds an error or a name against the conventions. */
export function checkWithPromtool(text: string): void {
  const result = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  assert.equal(result.error, undefined, String(result.error));
  assert.equal(result.stdout + result.stderr, '', text);
  assert.equal(result.status, 0, text);
}

/** The value of a series, such as `singlepoll_state{state="polling"}`; null where it is absent. */
export function sampleOf(text: string, series: string): number | null {
  const line = text.split('\n').find((it) => it.startsWith(`${series} `));
  return line === undefined ? null : Number(line.slice(series.length + 1));
}
