/** `singlepoll sandbox`: the Bot API stand-in by itself; lines on stdin are messages and faults. */
import { EXIT, SinglepollError } from '../errors.ts';
import { serveConsole } from '../sandbox/actions.ts';
import { randomToken, startSandbox } from '../sandbox/server.ts';

export async function run(options: Record<string, unknown>): Promise<number> {
  const port = whole(options.port, '--port', 0, 65_535) ?? 0;
  const bots = whole(options.bots, '--bots', 1, 100) ?? 1;
  const tokens = Array.from({ length: bots }, randomToken);
  const sandbox = await startSandbox({ port, tokens }).catch((error: NodeJS.ErrnoException) => {
    throw new SinglepollError(
      EXIT.unreachable,
      error.code === 'EADDRINUSE'
        ? `port ${port} is in use`
        : `the sandbox can't listen on 127.0.0.1:${port}: ${error.message}`,
      'singlepoll sandbox    # takes any free port',
    );
  });
  // The form of an env file, so that it can be one.
  process.stdout.write(`TELEGRAM_API_ROOT=${sandbox.root}\nTELEGRAM_BOT_TOKEN=${tokens[0]}\n`);
  for (const [index, token] of tokens.slice(1).entries()) {
    process.stdout.write(`# bot ${index + 2}: TELEGRAM_BOT_TOKEN=${token}\n`);
  }
  process.stderr.write('sandbox up; type a message for the bot, !help for more, Ctrl-C to end\n');
  const stop = new Promise<void>((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
    process.once('SIGHUP', resolve);
  });
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  // The end of stdin is no reason to stop: under nohup or in a container there is none.
  void serveConsole(sandbox, process.stdin, (line) => process.stderr.write(`${line}\n`));
  await stop;
  await sandbox.close();
  process.stdin.destroy();
  return EXIT.ok;
}

function whole(value: unknown, name: string, min: number, max: number): number | null {
  if (value === undefined) return null;
  const number = Number(value);
  if (!Number.isInteger(number) || number < min || number > max || String(value).trim() === '') {
    throw new SinglepollError(
      EXIT.usage,
      `${name} is "${String(value)}": a whole number from ${min} to ${max} is accepted`,
    );
  }
  return number;
}
