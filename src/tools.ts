/**
 * The programs of the system that singlepoll asks (systemctl, pm2, crontab, systemd-notify …), each with a time limit. They get a
 * small environment of their own, so that no token lands in a daemon that one of them might start. And where our own lie.
 */
import { fileURLToPath } from 'node:url';

const OUTPUT_MAX = 8 << 20;
const PASSED_ON =
  'HOME USER LOGNAME DBUS_SESSION_BUS_ADDRESS DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG CONTAINER_HOST KUBECONFIG';

/** Runs a tool to its end. Never throws. `env`: beside what every tool gets. */
export async function runTool(
  command: string,
  args: readonly string[],
  { timeoutMs, input, env }: { timeoutMs: number; input?: string; env?: Record<string, string> },
) {
  // Loaded when needed: a run without a service manager never needs it.
  const { execa } = await import('execa');
  const answer = await execa(command, args, {
    env: { ...toolEnvironment(process.env), ...env },
    extendEnv: false,
    cwd: '/',
    ...(input === undefined ? { stdin: 'ignore' } : { input }),
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    reject: false,
    stripFinalNewline: false,
    maxBuffer: OUTPUT_MAX,
  });
  const { exitCode, stdout = '', stderr = '', code, shortMessage } = answer;
  return {
    /** Null: not installed, killed, or too slow. */
    code: exitCode ?? null,
    stdout: String(stdout),
    /** Standard error, or the reason why it could not be started. */
    stderr: String(stderr) || (answer.failed && exitCode === undefined ? String(shortMessage) : ''),
    isMissing: code === 'ENOENT',
  };
}

/** The part of our environment that tools need; everything else, tokens above all, stays here. */
export function toolEnvironment(own: NodeJS.ProcessEnv): Record<string, string> {
  const environment: Record<string, string> = {
    PATH: `${own.PATH ?? ''}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`.replace(/^:/, ''),
    LC_ALL: 'C',
    XDG_RUNTIME_DIR: own.XDG_RUNTIME_DIR ?? `/run/user/${process.getuid?.() ?? 0}`,
    SYSTEMD_PAGER: '',
  };
  for (const name of PASSED_ON.split(' ')) if (own[name] !== undefined) environment[name] = own[name];
  return environment;
}

/** Absolute path of a file of the build, beside this file's bundle. */
export function distFile(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
