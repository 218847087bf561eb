/** The first minute in the README is what the program prints: each block is made from a run. `npm run docs -- first-minute` writes it. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { PYTHON } from '../support/bed.ts';
import { it } from '../support/kinds.ts';
import { until } from '../support/wait.ts';

/** Whatever differs from run to run becomes what the README shows; then the lines that tell the story. */
function shown(stderr: string, folder: string, botId: number, story: readonly string[]): string[] {
  const lines = stderr
    .replaceAll(folder, '/srv/bot')
    .replaceAll(hostname(), 'myhost')
    .replaceAll(`(${userInfo().username})`, '(me)')
    .replaceAll(String(botId), '123456')
    .replace(/@\w+_bot/, '@my_bot')
    .replace(/\S*\/python3?\b/g, 'python')
    .replace(/\S*\/node \S*\//g, 'node ')
    .replace(/ \(in \S*\)/g, (place) => (place.includes('/srv/bot') ? place : ''))
    .replace(/in [\d.]+ m?s\b/g, 'in 3 ms')
    .split('\n');
  const told = story.map((start) => {
    const line = lines.find((it) => it.startsWith(start));
    assert.ok(line, `${start} is not in\n${stderr}`);
    return line;
  });
  const pids = [...new Set(told.join('\n').match(/(?<=\b(?:pid|worker) )\d+/g))];
  return told.map((line) =>
    line.replace(/(?<=\b(?:pid|worker) )\d+/, (pid) => String(4701 + 11 * pids.indexOf(pid))),
  );
}

function assertInReadme(name: string, lines: readonly string[]): void {
  const readme = readFileSync('README.md', 'utf8');
  const block = new RegExp(`(<!-- first minute: ${name} -->\n\`\`\`\n)([\\s\\S]*?)(?=\n\`\`\`)`);
  if (process.env.SP_WRITE_DOCS)
    writeFileSync(
      'README.md',
      readme.replace(block, (_, head: string) => head + lines.join('\n')),
    );
  else assert.equal(block.exec(readme)?.[2], lines.join('\n'), 'npm run docs -- first-minute');
}

it('a bot as it is, beside an old one that polls', async (b) => {
  b.file('.env', `TELEGRAM_BOT_TOKEN=${b.token}\n`);
  delete b.env.TELEGRAM_BOT_TOKEN;
  const bot = (name: string) => readFileSync(`test/fixtures/${name}`, 'utf8');
  b.file('bot.py', bot('unmodified/bot.py').replace('sys.argv[1]', '"urllib"'));
  b.file('old_bot.py', `${bot('strays/poller.py')}\npoll_for_ever()\n`);
  const old = b.spawn(PYTHON, ['old_bot.py'], { env: b.env });
  await until('the old poll', () => b.sandbox.polls().length > 0, old);
  const run = await b.polling(['--', PYTHON, 'bot.py']);
  await until('all of it is said', () => /as it is[\s\S]*\[poll\] worker/.test(run.stderr()), run);
  const story = [
    '[bot]',
    '[lock]',
    '[stray] stopping',
    '[stray]   proven',
    '[stray] gone',
    '[webhook]',
    '[worker]',
    '[gateway] python',
    '[poll] worker',
  ];
  const stderr = run.stderr().replace(/, at http:\S+ \(.*\)/, '');
  assertInReadme('own bot', shown(stderr, b.project, b.botId, story));
});

it('start --sandbox: a bot in trouble', async (b) => {
  const run = b.cli('start --sandbox', { env: { ...b.env, TELEGRAM_BOT_TOKEN: '', TELEGRAM_API_ROOT: '' } });
  // The waiting updates answer the first question at once, so as a rule the worker's own polls prove the stray.
  const isOver = () => ['[stray] gone', '[poll] worker'].every((it) => run.stderr().includes(it));
  await until('the stray is gone, and the worker polls', isOver, run);
  const id = Number(/\(id (\d+)\)/.exec(run.stderr())?.[1]);
  const story = [
    ...['[bot]', '[webhook] was', '[worker]', '[poll] worker'],
    ...['[stray] stopping', '[stray]   proven', '[stray] gone'],
  ];
  assertInReadme('demo', shown(run.stderr(), b.project, id, story));
  assert.doesNotMatch(run.stdout() + run.stderr(), /\d{6,}:[\w-]{24,}/, 'no token, not even of the sandbox');
  run.signal('SIGINT');
  await run.ends(0);
});
