// Every "→": the command that a message proposes is typed in the situation in which it was shown, and works there.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { type Bed, bed, node, POLITE, PYTHON, randomToken } from '../support/bed.ts';
import { COMMAND, type Running } from '../support/cli.ts';
import { detach } from '../support/detach-bed.ts';
import { it } from '../support/kinds.ts';
import { hintsInSource } from '../support/source-texts.ts';
import { freePort } from '../support/strays.ts';
import { until } from '../support/wait.ts';

/** All that were typed, as they were shown. */
const typed = new Set<string>();
const WORKS = 'nothing of this kind: usage, configuration, another poller';
const POLLS = /\[poll\] worker \d+ polls/;
const polite = node('polite.mjs').join(' ');

/** What a person reads without scrolling; paths, URLs and lists of processes have the length that they have. */
function assertShort(text: string): void {
  const ours = text.replace(/\S*\/\S*/g, 'PATH').replace(/\(pid \d.*\)/g, '(PIDS)');
  for (const line of ours.split('\n')) assert.ok(line.length <= 160, line);
}

/** Types each hint of a text, and leaves the runs that it has started. Advice that is no command is for people. */
async function follow(b: Bed, text: string): Promise<Running[]> {
  const env = { ...b.env, PATH: `${b.dir}:${b.env.PATH}` };
  b.file('../singlepoll', `#!/bin/sh\nexec ${COMMAND} "$@"\n`, 0o755);
  assertShort(text);
  const hints = [...text.matchAll(/^\s*→ (.*)$/gm)].map(([, hint = '']) => hint);
  assert.ok(hints.length > 0, `no arrow in\n${text}`);
  const runs: Running[] = [];
  for (const hint of hints) {
    typed.add(hint);
    const command = hint
      .replace(/ +#.*/, '')
      .replace('COMMAND', polite)
      .replace(/…$/, `-- ${polite}`)
      .replace('PORT', String(await freePort()))
      .replace('path/to/the/project', '.');
    if (!/^(?:singlepoll|kill|chmod|rm) /.test(command)) continue;
    const run = b.spawn('sh', ['-c', `exec ${command}`], { env });
    const isThere = () => POLLS.test(run.stderr()) || /^TELEGRAM_BOT_TOKEN=/m.test(run.stdout());
    await until(`${command} to end, or to be there`, () => run.ended() !== null || isThere(), run);
    const { code } = run.ended() ?? { code: 0 };
    assert.ok(
      code === 0 || (code === 1 && /who|status|doctor/.test(command)),
      `${command}: not ${WORKS}\n${run.seen()}`,
    );
    assertShort(run.stderr());
    if (!run.ended()) runs.push(run);
  }
  return runs;
}

/** Ends what polls. */
async function stop(b: Bed): Promise<void> {
  await b.exits(0, 'stop');
}

it('a supervisor that is stopped (SIGSTOP): it does not answer, its worker is no stray, and reset is the way', async (b) => {
  const hung = await b.polling();
  hung.signal('SIGSTOP');
  const seen = await b.run('status');
  assert.match(seen.stdout, /: not answering\n[\s\S]*^worker +pid \d+[\s\S]*^strays +none/m);
  assert.doesNotMatch(seen.stdout, /without a supervisor/);
  for (const [words, codes] of [
    ['who', [0, 1]],
    ['stop', [69, 75]],
    ['restart', [69, 70, 75]],
    [['start', ...POLITE], [75]],
    [['start', '--takeover', ...POLITE], [75]],
  ] as const) {
    const { text } = await b.exits(codes, words);
    assert.match(text, new RegExp(`\\b${hung.pid}\\b[^]*→ singlepoll reset {4}# ends it`), String(words));
  }
  assert.equal(b.journal().filter(({ ev }) => ev === 'start').length, 1, 'no second worker');
  await follow(b, seen.stdout);
  assert.equal((await b.status()).healthy, true);
  await stop(b);
});

test('nothing runs, and nothing ever did', async (t) => {
  for (const [words, code] of [
    ['status', 3],
    ['restart', 3],
    ['logs', 78],
    ['reset', 78],
    ['status --history', 3],
  ] as const) {
    const b = await bed(t);
    await follow(b, (await b.exits(code, words)).text);
    await b.run('stop');
  }
});

it('a stray without a supervisor', async (b) => {
  const stray = b.spawn(PYTHON, [b.file('old_bot.py', 'import time\ntime.sleep(1e6)\n')]);
  b.env.SINGLEPOLL_STRAY = 'old_bot';
  const found = async () => (await b.run('status')).stdout;
  await until('it to be found', async () => /a process polls/.test(await found()), stray);
  await follow(b, await found());
  await stray.exit();
  await stop(b);
});

it('a worker that has set a webhook of its own, as it was allowed to', async (b) => {
  const script = `const root = process.env.TELEGRAM_API_ROOT + '/bot' + process.env.TELEGRAM_BOT_TOKEN;
await fetch(root + '/getUpdates?timeout=0');
console.log(await (await fetch(root + '/setWebhook?url=https://example.org/')).text());
setInterval(() => {}, 1e6);`;
  const run = b.start(['--allow-set-webhook', '--', process.execPath, b.file('bot.mjs', script)]);
  const isSet = async () => (await b.run('status')).stdout.includes('nobody polls:');
  await until('it to be set', isSet, run);
  await follow(b, (await b.exits(1, 'status')).stdout);
  await stop(b);
});

it('a run is there already', async (b) => {
  await b.polling();
  await follow(b, (await b.exits(75, ['start', ...POLITE])).stderr);
  await b.run('stop');
});

it('a start that fails: detached its log tells why, also later; in the foreground what it printed stands there', async (b) => {
  const ending = ['--backoff', '10ms,20ms', '--max-restarts', '2/1m', '--', 'sh', '-c', 'echo boom; exit 7'];
  const { stderr } = await b.exits(7, ['start', '-d', ...ending]);
  const { stdout } = await b.exits(3, 'status');
  assert.match(stdout, /exits within 60 s, the last with code 7 \(exit 7\); log \S+\n( {2}\| boom\n)+/);
  for (const text of [stderr, stdout]) {
    await follow(b, text);
    assert.match(text, /→ singlepoll logs -n 50 /);
  }
  await b.exits(69, ['start', '-d', '--start-timeout', '2s', '--', 'sleep', '1000']);
  assert.match((await b.exits(3, 'status')).stdout, /has not polled within 2 s[\s\S]*→ singlepoll logs/);
  await b.exits(7, ['start', ...ending]);
  assert.match(
    (await b.exits(3, 'status')).stdout,
    /exit 7\)\n( {2}\| boom\n)+ {2}→ mend the bot, then: singlepoll reset/,
  );
  await detach(b, POLITE);
  await stop(b);
  const { problems } = await b.status();
  assert.ok(
    problems.every(({ code }) => code !== 'ended'),
    'one that is stopped as asked has no reason of its own',
  );
});

it('reset knows the command of a start with a secret in an option', async (b) => {
  const url = 'http://127.0.0.1:9/s3cret';
  const { pid, finished } = await detach(b, ['--alert-url', url, ...POLITE]);
  assert.doesNotMatch(finished.stderr, /s3cret|will not know/);
  process.kill(pid, 'SIGKILL');
  await until('its end', async () => (await b.status()).state === 'stopped');
  const again = await b.exits(0, 'reset');
  assert.match(again.stderr, /--alert-url "http:\/\/127\.0\.0\.1:9\/…"/);
  await stop(b);
});

it('a 409 that the worker meets: who is no answer to itself', async (b) => {
  const script = "console.log('HTTP Error 409: Conflict'); setInterval(() => {}, 1e6);";
  const run = b.start(['--no-gateway', '--', process.execPath, b.file('bot.mjs', script)]);
  const conflict = async () => (await b.status()).problems.some(({ code }) => code === 'conflict');
  await until('the conflict to be known', conflict, run);
  await follow(b, (await b.exits(1, 'status')).stdout);
  const { stdout } = await b.exits(1, 'who');
  assert.doesNotMatch(stdout, /→ singlepoll who$/m);
  await follow(b, stdout);
  await stop(b);
});

it('a webhook that is to be kept; ports that are taken', async (b) => {
  await b.sandbox.setWebhook('https://example.org/hook');
  await follow(b, (await b.exits(78, ['start', '--keep-webhook', ...POLITE])).stderr);
  await stop(b);
  const taken = createServer().listen(0, '127.0.0.1');
  b.t.after(() => taken.close());
  await until('the port', () => taken.listening);
  const { port } = taken.address() as { port: number };
  for (const option of ['--gateway-port', '--http']) {
    await follow(b, (await b.exits(78, ['start', option, String(port), ...POLITE])).stderr);
    await stop(b);
  }
});

it('words that are mistyped, names that nobody knows', async (b) => {
  await follow(b, (await b.exits(78, 'start -- ./nothing')).stderr);
  for (const [words, env] of [
    ['start --stop-timeout soon -- true', {}],
    ['start --lease http://127.0.0.1/x -- true', {}],
    ['start --token-env NOPE -- true', {}],
    ['start --token-file missing -- true', {}],
    ['start -- true', { TELEGRAM_BOT_TOKEN: 'your-token' }],
    ['start -- true', { BOT_TOKEN: randomToken() }],
  ] as const) {
    const { stderr } = await b.exits(78, words, { env: { ...b.env, ...env } });
    assert.doesNotMatch(stderr, /secret in/);
    await follow(b, stderr);
  }
  await stop(b);
  for (const words of ['sandbox --port x', `sandbox --port ${b.sandbox.port}`])
    for (const run of await follow(b, (await b.exits([64, 69], words)).stderr)) run.signal('SIGTERM');
  b.file('singlepoll.toml', '');
  const init = await b.run('init');
  await follow(b, init.stderr);
  await detach(b, POLITE);
  await follow(b, (await b.exits(78, 'doctor nowhere')).stderr);
  for (const words of [
    'logs -n x',
    'logs --since x',
    'status @nobody_bot',
    'status --all --watch',
    'status --history x',
  ])
    await follow(b, (await b.exits(64, words)).stderr);
  await stop(b);
});

/** Typed by other tests, or by nobody, and why. */
const ELSEWHERE: readonly (readonly [RegExp, string])[] = [
  [/install/, 'install.test.ts, platforms/systemd.test.ts: what is installed would stay'],
  [
    /again, when|singlepoll ping$|clears it, with/,
    'the same command again, once something else is back or over',
  ],
  [/^singlepoll status …/, 'who.test.ts: beside a sandbox'],
  [/who --probe=40/, 'who.test.ts; it takes forty seconds'],
  [/ping {4}|same command$|who had started it|logs -n 50, then|^singlepoll status$/, 'alerts.test.ts'],
  [/bot: ends it, if need be/, 'detach.test.ts, watch.test.ts: status --all, status --watch'],
  [
    /in its own state|where it runs|end it by signals|^singlepoll stop$|present run goes/,
    'lock-holders.test.ts',
  ],
  [/# as root /, 'behind sudo; as root in lock-holders.test.ts, where it is no command for here'],
  [/--same-env/, 'commands.test.ts'],
  [/without --no-wait/, 'lease-standby.test.ts, by its options'],
  [/intercept proxy/, 'intercept.test.ts'],
  [/dry-run/, 'doctor.test.ts'],
  [/who --probe$/, 'gateway-rival.test.ts'],
  [/history 1d/, 'history.test.ts'],
  [/http 8080/, 'http.test.ts, with a port that is free'],
  [/if that does not help/, 'a worker that is silent for minutes'],
  [
    /calls setWebhook|clears it again|about to end|tells of conflicts/,
    'gateway-rival.test.ts, bot-api.test.ts',
  ],
  [/may name what starts|stops it all the same/, 'strays-guilty.test.ts'],
  [/--no-start$|reset -- COMMAND/, 'oddities.test.ts, lock-holders.test.ts'],
];

test('each command that a message can propose was typed above, or is known to be typed elsewhere', () => {
  const isTyped = (hint: string) => {
    const pattern = new RegExp(
      `^${hint
        .split('…')
        .map((it) => it.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
        .join('.*')}(?: |$)`,
    );
    return [...typed].some((it) => pattern.test(it)) || ELSEWHERE.some(([it]) => it.test(hint));
  };
  assert.deepEqual(
    hintsInSource().filter((hint) => !isTyped(hint)),
    [],
  );
});
