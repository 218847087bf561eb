// A status as people read it: at every size within its bounds, what is wrong first, what matters less left out first.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import stringWidth from 'string-width';
import { cut, oneLine, wrap } from '../../src/output/cells.ts';
import { createRate, type LiveView, liveScreen, statusScreen } from '../../src/output/screen.ts';
import {
  completeStatus,
  type LeaseEntry,
  type LiveLine,
  NO_USAGE,
  type StatusDocument,
} from '../../src/supervisor/status.ts';
import { SAMPLE_NOW_MS, sampleLease, sampleStatus, sampleStray } from '../support/status-sample.ts';

const rival = {
  code: 'rival',
  message: 'a rival takes the poll: 4 conflicts (409) in 2 min',
  hint: 'it polls from elsewhere (another machine, user or container). Stop it there, or revoke the token (@BotFather, /revoke)',
};
const webhookSet = { code: 'webhook-set', message: 'somebody set a webhook', hint: 'singlepoll who' };
const respawner = { kind: 'systemd', name: 'old', stopCommand: 'sudo systemctl stop old-bot.service' };
const stray = { ...sampleStray, respawner };
const log = { path: '/var/log/bot.log', problem: null, droppedBytes: 0 };
const decision = { what: 'take', at: '2026-11-21T12:00:09Z' } as const;
const DOCS = {
  fine: sampleStatus({ lease: sampleLease, log }),
  trouble: sampleStatus({ healthy: false, problems: [rival, webhookSet], strays: [stray] }),
  standby: sampleStatus({
    state: 'standby',
    worker: { pid: null, startedAt: null, spawns: 0, restarts: 0, lastExit: null, tree: [], ...NO_USAGE },
    lease: { ...sampleLease, mine: false, role: 'standby', decision },
  }),
  stopped: sampleStatus({ state: 'stopped', healthy: false, supervisor: null, worker: null, polling: null }),
} as const;

const LINES = Array.from({ length: 40 }, (_, i): LiveLine => {
  const at = new Date(SAMPLE_NOW_MS - (40 - i) * 1_000).toISOString();
  if (i === 38) return { at, from: 'singlepoll', tag: 'poll', level: 'warn', text: 'said by singlepoll' };
  return { at, from: 'out', tag: null, level: 'info', text: `line ${i} 👨‍👩‍👧 你好 ${'❤️ wide '.repeat(40)}` };
});
const plainly = (_level: string, text: string) => text;

function draw(status: StatusDocument, columns: number, rows: number, more: Partial<LiveView> = {}): string[] {
  const view = { status, lines: LINES, day: null, rate: '3 a minute', message: null, keys: true, ...more };
  return liveScreen(view, SAMPLE_NOW_MS, columns, rows, plainly);
}

const row = (screen: readonly string[], label: string) =>
  screen.find((it) => it.startsWith(`${label} `)) ?? '';

test('status: all of it at every width; rows break between their parts, nothing is cut off', () => {
  const words = (text: string) => text.split(/\s+/).filter(Boolean);
  for (const doc of Object.values(DOCS)) {
    const whole = words(statusScreen(doc, SAMPLE_NOW_MS, 100_000, plainly));
    for (const columns of [40, 60, 80, 140]) {
      const screen = statusScreen(doc, SAMPLE_NOW_MS, columns, plainly);
      assert.deepEqual(words(screen), whole, screen);
      for (const line of screen.split('\n')) assert.ok(stringWidth(line) <= columns, screen);
    }
  }
  const narrow = statusScreen(DOCS.trouble, SAMPLE_NOW_MS, 40, plainly);
  assert.match(
    narrow,
    /^● @my_bot \(123456\): polling\n! a rival takes the poll: 4 conflicts\n {2}\(409\) in 2 min\n {2}→ it polls/,
  );
  assert.match(narrow, /^heartbeat {2}polled 30 s ago,\n {11}next poll open, offset 42,\n {11}40 polls$/m);
  const wide = statusScreen(DOCS.trouble, SAMPLE_NOW_MS, 140, plainly);
  assert.match(wide, /^worker {5}pid 11, up 60 s, 2\.5 % CPU, 48 MB, 1 child\n {11}└ 12 {2}\S+ffmpeg -i x$/m);
  assert.match(
    wide,
    /^stray {6}pid 99, proven, of alice, .*\n {11}token in environment, connected to api root, in \/srv\/old\n {11}kept alive by systemd: sudo systemctl stop old-bot.service$/m,
  );
  const stopped = statusScreen(DOCS.stopped, SAMPLE_NOW_MS, 80, plainly);
  assert.match(stopped, /: not running\n {2}→ singlepoll start -- COMMAND\n\n/);
});

test('live: within its bounds at every size; title first, problem next, keys last', () => {
  for (const columns of [20, 59, 60, 79, 80, 140]) {
    for (const rows of [1, 3, 5, 10, 24, 50]) {
      for (const [name, doc] of Object.entries(DOCS)) {
        const screen = draw(doc, columns, rows);
        const seen = `${name} ${columns}x${rows}\n${screen.join('\n')}`;
        assert.equal(screen.length, rows, seen);
        for (const line of screen) assert.ok(stringWidth(line) <= columns, `${line}\n${seen}`);
        assert.match(screen.at(-1) ?? '', /q leave$/, seen);
        if (rows > 1) assert.match(screen[0] ?? '', /^● /, seen);
        if (rows >= 5 && name === 'trouble') assert.match(screen[1] ?? '', /^! a rival takes/, seen);
      }
    }
  }
  assert.match(
    draw(DOCS.trouble, 28, 10)[0] ?? '',
    /^● @my_…: polling, 2 problems$/,
    'the state is cut last',
  );
  const message = { text: 'restarted: worker 12 in place of 11', level: 'good' as const };
  assert.equal(draw(DOCS.fine, 30, 10, { message }).at(-1), 'r restart   q leave   restart…');
});

test('live: 60 columns, 20 rows have everything that it is for; with more room lines have their times', () => {
  const screen = draw(DOCS.fine, 60, 20);
  assert.match(screen[0] ?? '', /^● @my_bot \(123456\): polling {5,}\d\d:\d\d:00$/);
  for (const line of [
    'worker     pid 11, up 60 s, 2.5 % CPU, 48 MB, 1 child',
    'heartbeat  polled 30 s ago, next poll open, offset 42',
    'updates    3 a minute, 7 since the start',
    'conflicts  4 with another poller, 1 with a webhook',
    'restarts   2, last exit with code 1, 61 s ago',
    'lease      ours, good for 6 s, since 60 min, in redis',
  ])
    assert.ok(screen.includes(line), `${line}\n${screen.join('\n')}`);
  assert.equal(screen.filter((it) => it.startsWith('── last lines ─')).length, 1);
  assert.equal(screen.at(-3), '[poll] said by singlepoll');
  assert.match(screen.at(-2) ?? '', /^line 39 👨👩👧 你好 ❤ wide .*…$/u);
  assert.equal(screen.at(-1), 'r restart   q leave');
  // A part that just fits stays.
  const heartbeat = (columns: number) => row(draw(DOCS.fine, columns, 20), 'heartbeat');
  assert.equal(heartbeat(53), 'heartbeat  polled 30 s ago, next poll open, offset 42');
  assert.equal(heartbeat(52), 'heartbeat  polled 30 s ago, next poll open');
  const wide = draw(DOCS.fine, 140, 50);
  assert.equal(row(wide, 'lease'), 'lease      ours, good for 6 s, since 60 min, in redis, epoch 7');
  assert.match(row(wide, 'command') + row(wide, 'log'), /bot\.py.*bot\.log/);
  assert.match(wide.at(-3) ?? '', /^\d\d:\d\d:58 {2}\[poll\] said by singlepoll$/);
});

test('live: few rows: the problems with their cures stay, what matters less goes; what does not fit is counted', () => {
  const screen = draw(DOCS.trouble, 60, 10);
  const text = screen.join('\n');
  assert.match(screen[0] ?? '', /: polling, 2 problems /);
  assert.match(text, /^! a rival takes the poll: 4 conflicts \(409\) in 2 min$/m);
  assert.match(text, /^ {4}\(@BotFather, \/revoke\)$/m);
  assert.match(text, /^! somebody set a webhook/m);
  assert.ok(row(screen, 'worker') && row(screen, 'heartbeat'), text);
  assert.equal(row(screen, 'supervisor') + row(screen, 'command') + row(screen, '──'), '', text);
  const many = { ...DOCS.trouble, problems: Array.from({ length: 9 }, () => rival) };
  const crowded = draw(many, 60, 10);
  assert.match(crowded.join('\n'), /^! more: singlepoll status$/m);
  assert.ok(row(crowded, 'heartbeat'), crowded.join('\n'));
});

test('live: a standby has the lease first and nothing of a worker; stopped, hung, and an engine out of reach', () => {
  const screen = draw(DOCS.standby, 60, 20);
  assert.match(screen[0] ?? '', /: standing by /);
  assert.equal(screen[2], 'lease      box-a:4711 may poll, ours in 9 s unless renewed');
  assert.equal(row(screen, 'heartbeat') + row(screen, 'restarts'), '');
  assert.equal(screen.at(-1), 'q leave');
  const alone = { ...sampleLease, mine: false, decision: null, unreachable: 'connection refused' };
  const shown = (lease: LeaseEntry) => row(draw({ ...DOCS.standby, lease }, 60, 20), 'lease');
  assert.equal(shown(alone), 'lease      redis is out of reach');
  const due = { ...alone, decision: { what: 'take', at: '2026-11-21T11:59:00Z' } } as const;
  assert.equal(shown(due), 'lease      redis is out of reach, taken over once redis ans…');
  assert.match(draw(DOCS.stopped, 60, 20).join('\n'), /: not running .*\n {2}→ singlepoll start -- COMMAND/);
  const problem = { code: 'supervisor-hung', message: 'the supervisor (pid 10) does not answer' };
  const hung = draw(sampleStatus({ healthy: false, problems: [problem] }), 60, 20);
  assert.match(hung[0] ?? '', /: not answering, 1 problem /);
});

test('a supervisor of another version: whatever its status leaves out, the screens show the rest', () => {
  const whole = sampleStatus({ lease: sampleLease, strays: [sampleStray] });
  const shown = (told: unknown) => {
    const doc = completeStatus(told);
    return statusScreen(doc, SAMPLE_NOW_MS, 80, plainly) + draw(doc, 80, 24).join('\n');
  };
  assert.match(shown({}), /starting/);
  for (const part of Object.keys(whole) as (keyof typeof whole)[]) {
    const { [part]: inner, ...rest } = whole;
    shown(rest);
    if (inner === null || typeof inner !== 'object' || Array.isArray(inner)) continue;
    for (const key of Object.keys(inner)) {
      const { [key]: _gone, ...others } = inner as unknown as Record<string, unknown>;
      shown({ ...whole, [part]: others });
    }
  }
});

test('updates a minute: unknown at first, then reckoned, then counted over the last 60 s; another run begins anew', () => {
  const rate = createRate();
  for (const [words, s, updates, run = 'a'] of [
    ['– a minute', 0, 100],
    ['– a minute', 9, 100],
    ['about 15 a minute', 20, 105],
    ['about 10 a minute', 30, 105],
    ['5 a minute', 70, 105],
    ['0 a minute', 81, 105],
    ['0 a minute', 200, 105],
    ['3 a minute', 201, 108],
    ['3 a minute', 259, 108],
    ['0 a minute', 261, 108],
    ['– a minute', 263, 2, 'b'],
    ['about 6 a minute', 273, 3, 'b'],
  ] as const)
    assert.equal(rate(run, updates, s * 1_000), words, `at ${s}`);
});

test('colour says how bad it is', () => {
  const marked = (status: StatusDocument) => {
    const view = { status, lines: LINES, day: null, rate: '', message: null, keys: true };
    return liveScreen(view, SAMPLE_NOW_MS, 80, 24, (level, text) => `<${level}>${text}</>`).join('\n');
  };
  assert.match(marked(DOCS.fine), /^<good>●<\/> .*<good>polling<\/>/);
  const trouble = marked(DOCS.trouble);
  assert.match(trouble, /^<error>●<\/>.*<error>polling, 2 problems<\/>/);
  assert.match(trouble, /^<error>! a rival/m);
  assert.match(trouble, /<warn>4 with another poller, 1 with a webhook<\/>/);
  assert.match(trouble, /<tag>\d\d:\d\d:\d\d {2}\[poll\] <\/><warn>said by singlepoll<\/>/);
});

test('cells: no control sequence, no token, the last state of a progress bar; cut and wrapped by columns', () => {
  assert.equal(oneLine('\x1b[31mred\x1b[0m\tend'), 'red    end');
  assert.equal(oneLine('10%\r55%\r'), '55%');
  assert.equal(oneLine('a\x07b\u202ec'), 'a\\x07b\\u202ec');
  assert.equal(oneLine(`token 123456789:${'A'.repeat(35)}`), 'token 123456789:…');
  for (const [columns, expected] of [
    [8, '你好世界'],
    [7, '你好世…'],
    [6, '你好…'],
    [0, ''],
  ] as const)
    assert.equal(cut('你好世界', columns), expected);
  assert.deepEqual(wrap('one two three', '! ', 12), ['! one two', '  three']);
  assert.deepEqual(wrap('    raise', '| ', 12), ['|     raise'], 'a line of a traceback');
  const long = wrap(`see ${'x'.repeat(25)} there`, '  → ', 14);
  const xs = (n: number) => `    ${'x'.repeat(n)}`;
  assert.deepEqual(long, ['  → see', xs(9), xs(9), xs(7), '    there']);
  assert.equal(wrap('你好世界'.repeat(5), '', 10).join(''), '你好世界'.repeat(5));
});
