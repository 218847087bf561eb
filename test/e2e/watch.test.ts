// `status --watch`: in a real terminal, at several sizes, through ends and starts of the supervisor; and without one.
import assert from 'node:assert/strict';
import type { StatusDocument } from '../../src/supervisor/status.ts';
import { type Bed, node } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNoToken } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { alive, commandOf, findByEnv } from '../support/proc.ts';
import { assertStatusShape } from '../support/status.ts';
import { openTmux, type Tmux } from '../support/tmux.ts';
import { until } from '../support/wait.ts';

const WATCH = `${process.execPath} -- ${PROGRAM} status --watch`;
const OURS = { alternate: true, cursor: false, wraps: false };
const THEIRS = { alternate: false, cursor: true, wraps: true };

/** A poller whose lines are hard to lay out, and which knows the token. */
const talker = (b: Bed): string[] => [
  process.execPath,
  b.file(
    'talker.mjs',
    `console.log('\\u{1f600}'.repeat(80));
console.log('\\x1b[31mred\\x1b[0m\\ttoken ' + process.env.TELEGRAM_BOT_TOKEN);
await import(${JSON.stringify(node('polite.mjs')[1])});\n`,
  ),
];

async function untilModes(tmux: Tmux, modes: typeof OURS): Promise<void> {
  const is = () => JSON.stringify(tmux.modes()) === JSON.stringify(modes);
  await until(`a terminal ${JSON.stringify(modes)}`, is, tmux);
}

const findWatcher = (b: Bed): number | undefined =>
  findByEnv('SP_TEST_COOKIE', b.cookie).find((pid) => commandOf(pid).endsWith('status --watch'));

const watcher = (b: Bed): number => {
  const found = findWatcher(b);
  assert.ok(found, 'a watcher');
  return found;
};

it('watch: a real terminal, from the first frame to the last, through every change', async (b) => {
  const first = await b.polling(['--', ...talker(b)]);
  const json = b.cli(['status', '--watch', '--json', '--bot', String(b.botId)]);
  const tmux = await openTmux(b, 60, 20);
  tmux.type('echo mar""ker; stty -g > before');
  await tmux.until(/^marker$/m);

  // 60 columns: everything is there, nothing is wider.
  tmux.type(WATCH);
  await tmux.until(
    /: polling [^\n]*\n\nworker +pid \d+.*heartbeat.*updates.*conflicts.*restarts.*── last lines/s,
  );
  await tmux.until(/red {4}token \d+:…/);
  let rows = tmux.rows();
  assert.equal(rows.length, 20);
  assert.equal(rows[19], 'r restart   q leave');
  assert.match(rows.join('\n'), /\u{1f600}…$/mu);
  assert.equal(
    rows.some((row) => row.startsWith('marker')),
    false,
  );
  assertNoToken(tmux.seen(), b.token);
  await untilModes(tmux, OURS);

  // An update shows by itself.
  b.sandbox.text('hello');
  await tmux.until(/updates +.* 1 since the start/);

  // Another size, while it runs.
  tmux.resize(100, 30);
  await until('the keys in the last row', () => tmux.rows()[29]?.startsWith('r restart'), {
    seen: tmux.seen,
  });
  rows = tmux.rows();
  assert.equal(rows.filter((row) => row.includes('r restart')).length, 1, tmux.seen());
  assert.match(rows[0] ?? '', /polling {10,}\d\d:\d\d:\d\d$/);

  // A restart by key.
  const { pid } = (await b.status()).worker ?? {};
  tmux.press('r');
  await tmux.until(new RegExp(`restarted: worker \\d+ in place of ${pid}`));
  await tmux.until(/restarts +1, last exit/);

  // To the background and back.
  tmux.press('C-z');
  await tmux.until(/Stopped/);
  await untilModes(tmux, THEIRS);
  tmux.type('fg');
  await untilModes(tmux, OURS);
  await tmux.until(/: polling/);

  // A supervisor that hangs, and wakes up.
  process.kill(first.pid, 'SIGSTOP');
  await tmux.until(/not answering.*\n! the supervisor \(pid \d+\) does not answer/);
  await json.waitFor(/supervisor-hung/);
  process.kill(first.pid, 'SIGCONT');
  await tmux.until(/: polling/);

  // One that ends, and the next.
  await b.run(['stop']);
  await tmux.until(/: not running/);
  assert.match(tmux.seen(), /ended \(exit 0\)/);
  const second = await b.polling(['--', ...node('polite.mjs')]);
  await tmux.until(new RegExp(`: polling.*supervisor +pid ${second.pid},`, 's'));

  // Leaving by key, and by signals: the terminal is as it was.
  const asBefore = async (code: number) => {
    // Until then what is typed is typed to it.
    await until('the watcher to be gone', () => findWatcher(b) === undefined);
    tmux.type('echo "code $?" $(stty -g | cmp - before && echo same modes)');
    await tmux.until(new RegExp(`code ${code} same modes`));
    await untilModes(tmux, THEIRS);
    assert.match(tmux.seen(), /^marker$/m);
    tmux.type('clear; echo mar""ker');
    await until('a clean screen', () => tmux.rows()[0] === 'marker', tmux);
  };
  tmux.press('q');
  await asBefore(0);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) {
    tmux.type(WATCH);
    await tmux.until(/: polling/);
    process.kill(watcher(b), signal);
    await asBefore(0);
  }

  // Without colour nothing is drawn over: screens one below the other.
  tmux.type(`NO_COLOR=1 ${WATCH}`);
  await tmux.until(/: polling\n/);
  assert.deepEqual(tmux.modes(), THEIRS);
  tmux.press('C-c');
  await tmux.until(/\^Cbash\S*[#$]/);
  tmux.type('clear; echo mar""ker; true');
  await until('a clean screen', () => tmux.rows()[0] === 'marker', tmux);

  // A bug: said on the screen that the user knows.
  const bug = "clearInterval(it); throw new Error('made by the test');";
  b.file('bug.cjs', `const it = setInterval(() => { if (process.stdout.bytesWritten) { ${bug} } }, 20);\n`);
  tmux.type(`NODE_OPTIONS='--require ./bug.cjs' ${WATCH}`);
  await tmux.until(/a bug in singlepoll.*made by the test/s);
  await asBefore(70);

  // No keys where stdin is no terminal.
  tmux.type(`${WATCH} < /dev/null`);
  await tmux.until(/^Ctrl-C leave/m);
  tmux.press('C-c');
  await asBefore(0);

  // A terminal that goes away takes the watcher with it.
  tmux.type(WATCH);
  await tmux.until(/: polling/);
  const orphan = watcher(b);
  tmux.end();
  await until('the watcher to be gone', () => !alive(orphan));

  // What the same run was to a program.
  json.signal('SIGINT');
  assert.equal((await json.exit()).code, 0, json.seen());
  const lines = json.stdout().trimEnd().split('\n');
  const documents = lines.map((line) => JSON.parse(line) as StatusDocument);
  for (const document of documents) assertStatusShape(document);
  assert.equal(
    lines.some((line, i) => line === lines[i - 1]),
    false,
    'the same twice',
  );
  const marks = documents.map((it) => it.problems[0]?.code ?? it.supervisor?.pid ?? it.state);
  const course = marks.filter((mark, i) => mark !== marks[i - 1]);
  assert.deepEqual(course, [first.pid, 'supervisor-hung', first.pid, 'stopped', second.pid], json.seen());
});

it('watch: without a terminal a screen at each change, until nobody reads', async (b) => {
  const watch = b.cli(['status', '--watch']);
  await watch.waitFor(/not running/);
  await b.polling(['--', ...node('polite.mjs')]);
  await watch.waitFor(/: polling/);
  assert.equal(watch.stdout().includes('\x1b'), false);
  watch.child.stdout?.destroy();
  b.sandbox.text('hello');
  assert.deepEqual(await watch.exit(), { code: 0, signal: null });
});

xit('long waits count down in the last line of a terminal, which is gone when something else is written', async (b) => {
  const tmux = await openTmux(b, 100, 30);
  const start = `${process.execPath} -- ${PROGRAM} start --stop-timeout 3s --backoff 3s,3s --`;
  tmux.type(`${start} ${node('ignores-term.mjs').join(' ')}`);
  await tmux.until(/\[poll\] worker \d+ polls/);
  tmux.press('C-c');
  await tmux.until(/\[stop\] stopping: [^\n]*\nwaiting for the worker to end; SIGKILL in [123]/);
  await tmux.until(/supervisor and worker have ended \(exit 0\)\nbash/);
  assert.doesNotMatch(tmux.seen(), /waiting for/);
  tmux.type(`clear; ${start} ${node('exits.mjs', '3').join(' ')}`);
  await tmux.until(/in [\d.]+ s \(2 exits in a row\)\nthe next worker is started in [1234]/);
  await tmux.until(/\(2 exits in a row\)\n\[worker\] started/);
  tmux.press('C-c');
  await tmux.until(/have ended/);
  const late = b.file('late.mjs', `setTimeout(() => import('${node('polite.mjs')[1]}'), 2_000);\n`);
  tmux.type(`clear; ${start.replace('start', 'start -d')} ${process.execPath} ${late}`);
  await tmux.until(/\[worker\] started[^\n]*\nwaiting for the worker's first poll, for \d s so far/);
  await tmux.until(/\[worker\] started[^\n]*\n\[poll\] worker \d+ polls\n@/);
  await b.exits(0, 'stop');
  tmux.type(`clear; POLLING_ENABLED=0 ${start.replace('start', 'start -d')} sleep 60`);
  await tmux.until(/\[worker\] started[^\n]*\nwaiting for the worker to stay up, for \d s so far/);
  await tmux.until(/nobody polls, as asked/);
  await b.exits(0, 'stop');
  tmux.type(`clear; ${process.execPath} -- ${PROGRAM} who --probe=3`);
  await tmux.until(/probing: the poll is held for another [123]/);
  await tmux.until(/\nprobe: none seen/);
  assert.doesNotMatch(tmux.seen(), /probing/);
  // In a log each wait is one line.
  const logged = await b.polling(['--stop-timeout', '1s', '--', ...node('ignores-term.mjs')]);
  await logged.stop();
  assert.match(logged.seen(), /\[stop\] stopping: SIGTERM; up to 1 s/);
  assert.doesNotMatch(logged.seen(), /waiting for|\x1b/);
});
