/** The way into the program, and the only place that sets the exit code. */
import { CommanderError } from 'commander';
import { buildProgram } from './commands/program.ts';
import { maskTokens } from './config/token.ts';
import { EXIT, MORE_FILES, SinglepollError, VERSION } from './errors.ts';
import { plainCommand } from './output/plain.ts';
import { journalMarks } from './output/words.ts';

/** What is left open after an error gets this long to end by itself. */
const LINGER_MS = 1_000;

/** The user has the cure for these errors of the system, so they are not reported as bugs. EMFILE: too many open files. */
const FULL = ['ENOSPC', 'EDQUOT'];
const DENIED = ['EACCES', 'EPERM', 'EROFS', 'EISDIR', 'ENOTDIR'];

function cureOf({ code = '', path, address }: NodeJS.ErrnoException & { address?: string }): string | null {
  if (FULL.includes(code)) return 'df -h    # room on each disk';
  if (code === 'EMFILE') return MORE_FILES;
  const place = path ?? address ?? '';
  const isPath = DENIED.includes(code) && place.startsWith('/');
  return isPath ? `namei -l ${plainCommand([place], 500)}    # who may use it` : null;
}

/** `logs -20`, as `tail -20`. */
const asTail = (word: string): string => word.replace(/^-(\d+)$/, '-n$1');

/** Parses and runs; returns the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  // Others (the look for strays of another singlepoll, `reset`) know us by our name in the process list, which a symlink or a copy of
  // another name would hide.
  if (!/(?:^|\/)singlepoll(?:\.js)?$/.test(argv[1] ?? '')) process.title = 'singlepoll';
  // A mask that takes our own rights away would close what we write to ourselves.
  const mask = process.umask(0o077);
  if ((mask & 0o700) === 0) process.umask(mask);
  let exitCode: number = EXIT.ok;
  const program = buildProgram(argv.slice(2), async (row, invocation) => {
    exitCode = await row.run(invocation);
  });
  if (argv.length <= 2) {
    program.outputHelp({ error: true });
    return EXIT.usage;
  }
  try {
    if (argv[2] === '__complete')
      return await (await import('./commands/completion.ts')).complete(program, argv.slice(3));
    await program.parseAsync(argv[2] === 'logs' ? argv.map(asTail) : [...argv]);
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) return tell(error);
    if (error.exitCode === 0) return EXIT.ok;
    const link = await (await import('./service/link.ts')).openLink();
    await link?.end(maskTokens(error.message).replace(/^error: /, ''));
    return EXIT.usage;
  }
}

/** Says why it ends, and returns the exit code. Whatever went into a message, a token does not come out with it. */
function tell(error: unknown): number {
  const mark = journalMarks()('error');
  const say = (text: string) => process.stderr.write(`${mark}${maskTokens(text)}\n`);
  if (error instanceof SinglepollError) {
    say(`singlepoll: ${error.message}`);
    if (error.hint) say(error.hint.replace(/^/gm, '  → '));
    return error.exitCode;
  }
  const cure = error instanceof Error ? cureOf(error) : null;
  if (cure !== null) {
    say(`singlepoll: the system refuses: ${(error as Error).message}`);
    say(`  → ${cure}`);
    return EXIT.config;
  }
  say(
    `singlepoll: a bug in singlepoll ${VERSION} (node ${process.version}, ${process.platform}); please report this:\n` +
      `${(error instanceof Error && error.stack) || String(error)}`,
  );
  return EXIT.bug;
}

// Without a listener Node opens its debugger, to every user of this machine. A supervisor passes it on.
process.on('SIGUSR1', () => {});
process.on('uncaughtException', (error: NodeJS.ErrnoException) => {
  // Whoever read our output has gone, as with `| head`: what was asked for is done all the same, and the exit code tells of it.
  if (error.code === 'EPIPE' && error.syscall === 'write') return;
  // A supervisor and a live screen have listeners of their own, and something to put in order first.
  if (process.listenerCount('uncaughtException') === 1) process.exit(tell(error));
});
main(process.argv).then((code) => {
  process.exitCode = code;
  // An error may have left something open that would keep this process, and what it holds, alive. (The streams of a process on Linux
  // and macOS are written at once, or by the sinks that were waited for.)
  if (code !== EXIT.ok) setTimeout(() => process.exit(), LINGER_MS).unref();
});
