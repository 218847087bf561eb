/**
 * What of the worker's environment leads its calls to api.telegram.org to the gateway: hooks that its runtimes load, and, where asked,
 * the gateway as HTTPS proxy. Pure. What the user has set stays, in front or behind as the runtime needs it; a variable that would name
 * a missing file is not set, since Node, Ruby, PHP and Bun end at their start where it does.
 */
import { parseObject } from '../config/files.ts';
import type { TrustFiles } from './trust.ts';

type Environment = Readonly<NodeJS.ProcessEnv>;

export interface Interception {
  readonly mode: 'auto' | 'proxy';
  readonly port: number;
  /** Of the supervisor: the hooks ask whether it is still there. */
  readonly pid: number;
  readonly startTime: string;
  /** DER. */
  readonly authority: Buffer;
  /** The folder of the hooks; null: they are left out. */
  readonly hooks: string | null;
  /** The hook for Node as a URL that holds it, where Node may not read files of ours (its permission model). */
  readonly nodeImport: string | null;
  /** Null: no place to write them. */
  readonly trust: Pick<TrustFiles, 'bundle' | 'keystore' | 'phpFolder'> | null;
  /** Programs that are led by files and a proxy variable of their own, where the command or the project says so. */
  readonly runtimes: ReadonlySet<Runtime>;
}

export type Runtime = 'php' | 'bun' | 'java';

/** Everything that may name further certificates to trust, of whatever program. */
export const TRUST_VARIABLES = (
  'SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE DENO_CERT PERL_LWP_SSL_CA_FILE MOJO_CA_FILE ' +
  'GIT_SSL_CAINFO CARGO_HTTP_CAINFO AWS_CA_BUNDLE HTTPLIB2_CA_CERTS NODE_EXTRA_CA_CERTS'
).split(' ');

/** Holds what the variables were before, for a supervisor that the worker starts. */
const BEFORE = 'SINGLEPOLL_HOOK_BEFORE';

/** The variables to set; the rest of the environment stays as it is. */
export function interceptVariables(env: Environment, it: Interception): Record<string, string> {
  const set: Record<string, string> = {
    SINGLEPOLL_HOOK: [it.port, it.pid, it.startTime, it.authority.toString('base64')].join(':'),
  };
  if (it.hooks !== null) {
    const load =
      it.nodeImport === null ? `--require=${quoted(`${it.hooks}/node.cjs`)}` : `--import=${it.nodeImport}`;
    set.NODE_OPTIONS = joined(load, env.NODE_OPTIONS, ' ');
    set.PYTHONPATH = joined(`${it.hooks}/python`, env.PYTHONPATH, ':');
    // A path with a blank can't be written there.
    if (!it.hooks.includes(' ')) set.RUBYOPT = joined(env.RUBYOPT, `-r${it.hooks}/ruby.rb`, ' ');
    if (it.trust !== null) {
      if (it.runtimes.has('bun')) {
        set.BUN_OPTIONS = joined(env.BUN_OPTIONS, `--preload=${it.hooks}/bun.js`, ' ');
        set.NODE_EXTRA_CA_CERTS = it.trust.bundle(env.NODE_EXTRA_CA_CERTS);
      }
      // The empty entry stands for the folder that was compiled in.
      if (it.runtimes.has('php'))
        set.PHP_INI_SCAN_DIR = `${env.PHP_INI_SCAN_DIR ?? ''}:${it.trust.phpFolder}`;
    }
  }
  if (it.trust !== null && it.runtimes.has('java')) {
    const options = `-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=${it.port} -Djavax.net.ssl.trustStore=${it.trust.keystore}`;
    // The last one counts.
    set.JAVA_TOOL_OPTIONS = joined(options, env.JAVA_TOOL_OPTIONS, ' ');
  }
  const hasProxy = Boolean(env.https_proxy || env.HTTPS_PROXY);
  if (it.trust !== null && (it.mode === 'proxy' || hasProxy)) {
    const proxy = `http://127.0.0.1:${it.port}`;
    Object.assign(set, { HTTPS_PROXY: proxy, https_proxy: proxy, PERL_LWP_ENV_PROXY: '1', MOJO_PROXY: '1' });
    for (const name of TRUST_VARIABLES) set[name] = it.trust.bundle(env[name]);
  }
  const before = Object.keys(set).map((name) => [name, env[name] ?? null] as const);
  return { ...set, [BEFORE]: JSON.stringify(Object.fromEntries(before)) };
}

/** Makes an environment what it was before an outer supervisor of ours has set these variables in it. */
export function leaveInterception(env: NodeJS.ProcessEnv): void {
  const before = parseObject<Record<string, string | null>>(env[BEFORE] ?? '') ?? {};
  for (const [name, value] of Object.entries(before)) {
    if (value === null) delete env[name];
    else env[name] = value;
  }
  delete env[BEFORE];
}

/** Without a separator where one is missing: an empty entry of PYTHONPATH is the working folder. */
function joined(first: string | undefined, second: string | undefined, separator: string): string {
  return [first, second].filter((it) => it !== undefined && it !== '').join(separator);
}

function quoted(path: string): string {
  return /[\s"\\]/.test(path) ? `"${path.replace(/["\\]/g, '\\$&')}"` : path;
}
