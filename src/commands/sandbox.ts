/** `singlepoll sandbox`: the Bot API stand-in by itself; lines on stdin are messages and faults. */
import { EXIT, SinglepollError } from '../errors.ts';
import { serveConsole } from '../sandbox/actions.ts';
import { randomToken } from '../sandbox/core.ts';
import { startSandbox } from '../sandbox/server.ts';

export async function run(options: Record<string, unknown>): Promise<number> {
  const port = whole(options.port ?? 0, '--port', 0, 65_535);
  const tokens = Array.from({ length: whole(options.bots ?? 1, '--bots', 1, 100) }, randomToken);
  const sandbox = await startSandbox({ port, tokens }).catch((error: NodeJS.ErrnoException) => {
    throw new SinglepollError(
      EXIT.unreachable,
      `the sandbox can't listen on 127.0.0.1:${port}: ${error.message}`,
      'singlepoll sandbox    # takes any free port',
    );
  });
  // The form of an env file, so that it can be one.
  const [first, ...more] = tokens;
  const others = more.map((token, index) => `# bot ${index + 2}: TELEGRAM_BOT_TOKEN=${token}\n`);
  const text = `TELEGRAM_API_ROOT=${sandbox.root}\nTELEGRAM_BOT_TOKEN=${first}\n${others.join('')}`;
  // Nobody could use it without these lines: where they can't be written, as to a full disk, the error ends it.
  await new Promise((done) => process.stdout.write(text, done));
  process.stderr.write('sandbox up; type a message for the bot, !help for more, Ctrl-C to end\n');
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  // The end of stdin is no reason to stop: under nohup or in a container there is none.
  void serveConsole(sandbox, process.stdin, (line) => process.stderr.write(`${line}\n`));
  await new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, resolve);
  });
  await sandbox.close();
  process.stdin.destroy();
  return EXIT.ok;
}

function whole(value: unknown, name: string, min: number, max: number): number {
  if (/^\d{1,5}$/.test(String(value)) && Number(value) >= min && Number(value) <= max) return Number(value);
  throw new SinglepollError(
    EXIT.usage,
    `${name} is "${String(value)}": a whole number from ${min} to ${max} is accepted`,
    'singlepoll sandbox --help',
  );
}
