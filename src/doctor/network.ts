/** DNS, reach of the API root and the clock against its Date header. No token is sent; each step has its time. */
import { lookup } from 'node:dns/promises';
import { openHttpClient, proxyOf } from '../telegram/http-client.ts';
import type { Check } from './environment.ts';

export interface NetworkLimits {
  readonly dnsMs: number;
  readonly answerMs: number;
}

export const NETWORK_LIMITS: NetworkLimits = { dnsMs: 5_000, answerMs: 8_000 };

/** More than this between our clock and the API's is worth a finding. The Date header has a resolution of 1 s. */
const CLOCK_OFF_MS = 30_000;

const ANSWER_BYTES_MAX = 4 * 1024 * 1024;

type Env = Readonly<Record<string, string | undefined>>;

/** What was seen when the API root was asked. */
export type Answer =
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly date: string | undefined;
      readonly tookMs: number;
    }
  | { readonly kind: 'failure'; readonly problem: string };

export async function checkNetwork(
  apiRoot: string,
  env: Env,
  limits: NetworkLimits = NETWORK_LIMITS,
): Promise<Check[]> {
  const root = new URL(apiRoot);
  const proxied = proxyOf(root, env) !== null;
  // Behind a proxy it is the proxy that asks the DNS.
  const dns = proxied ? null : await resolves(root.hostname, limits.dnsMs);
  if (dns?.ok === false) {
    return [
      dns,
      unseen('api-root', `${apiRoot} was not asked`),
      unseen('clock', 'the clock was not compared'),
    ];
  }
  const answer = await ask(root, env, limits.answerMs);
  const checks = [judgeReach(apiRoot, answer), judgeClock(answer, Date.now())];
  return dns ? [dns, ...checks] : checks;
}

export const unseen = (check: Check['check'], message: string): Check => ({
  check,
  ok: null,
  message,
  cure: null,
});

async function resolves(hostname: string, ms: number): Promise<Check | null> {
  const host = hostname.replace(/^\[|\]$/g, '');
  if (/^[\d.]+$|:/.test(host)) return null;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(Object.assign(new Error('late'), { code: `no answer within ${ms / 1_000} s` })),
      ms,
    );
  });
  try {
    const addresses = await Promise.race([lookup(host, { all: true }), late]);
    return { check: 'dns', ok: true, message: `${host} is ${addresses[0]?.address ?? 'known'}`, cure: null };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    return {
      check: 'dns',
      ok: false,
      message: `the name ${host} can’t be looked up (${code})`,
      cure: `getent hosts ${host}   (and /etc/resolv.conf; in a container: --dns)`,
    };
  } finally {
    clearTimeout(timer);
  }
}

async function ask(root: URL, env: Env, ms: number): Promise<Answer> {
  const client = openHttpClient({ root, env, connections: 1 });
  const begin = performance.now();
  try {
    const { status, headers } = await client.ask({
      method: 'GET',
      path: root.pathname + root.search,
      headers: ['user-agent', 'singlepoll'],
      answerBytesMax: ANSWER_BYTES_MAX,
      signal: AbortSignal.timeout(ms),
    });
    return {
      kind: 'answer',
      status,
      date: headers.date,
      tookMs: Math.round(performance.now() - begin),
    };
  } catch (error) {
    const { name, code, message } = error as NodeJS.ErrnoException;
    return {
      kind: 'failure',
      problem:
        name === 'TimeoutError' || name === 'AbortError'
          ? `no answer within ${ms / 1_000} s`
          : (code ?? message),
    };
  } finally {
    client.close();
  }
}

export function judgeReach(apiRoot: string, answer: Answer): Check {
  if (answer.kind === 'answer' && answer.status < 500) {
    return { check: 'api-root', ok: true, message: `${apiRoot} answers in ${answer.tookMs} ms`, cure: null };
  }
  const problem = answer.kind === 'answer' ? `it answers ${answer.status}` : answer.problem;
  return {
    check: 'api-root',
    ok: false,
    message: `${apiRoot} is out of reach: ${problem}`,
    cure: /CERT|SELF_SIGNED|UNABLE_TO/.test(problem)
      ? 'NODE_EXTRA_CA_CERTS=/path/to/ca.pem'
      : `curl -v ${apiRoot}   (firewall, HTTPS_PROXY, TELEGRAM_API_ROOT)`,
  };
}

export function judgeClock(answer: Answer, nowMs: number): Check {
  const date = answer.kind === 'answer' && answer.date !== undefined ? Date.parse(answer.date) : Number.NaN;
  if (Number.isNaN(date)) return unseen('clock', 'the clock was not compared: no Date in the answer');
  const off = nowMs - date;
  const ok = Math.abs(off) <= CLOCK_OFF_MS;
  return {
    check: 'clock',
    ok,
    message: ok
      ? 'the clock agrees with the API root'
      : `the clock is ${Math.round(Math.abs(off) / 1_000)} s ${off > 0 ? 'ahead of' : 'behind'} the API root’s`,
    cure: ok ? null : 'timedatectl set-ntp true',
  };
}
