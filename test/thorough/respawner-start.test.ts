// A stray that a service manager keeps alive is not fought: `start` ends with 75, leaves it alone, and says the command
// that stops it for good; typed as it stands, it makes way.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Bed, bed, node, PYTHON, worker } from '../support/bed.ts';
import { assertNoToken } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { npmPrograms } from '../support/programs.ts';
import { polledBy } from '../support/strays.ts';
import { openTmux } from '../support/tmux.ts';
import { staysTrue, until } from '../support/wait.ts';

interface Who {
  strays: { pid: number; respawner: { kind: string; name: string; stopCommand: string } | null }[];
}

// Both singlepoll and the typed command look for them on the PATH.
process.env.PATH = [npmPrograms('pm2', '7.0.4'), npmPrograms('nodemon', '3.1.14'), process.env.PATH].join(
  ':',
);

/** Starts singlepoll against a kept stray, types what it says, starts again. */
async function givesWay(b: Bed, kind: string, command: RegExp): Promise<void> {
  await until('the stray to poll', () => polledBy(b, 'poller.py').length > 0, { ms: 30_000 });
  const pid = polledBy(b, 'poller.py')[0] ?? -1;
  const seen = await b.run(['who', '--json']);
  assert.equal(seen.code, 1, seen.stderr);
  const named = (JSON.parse(seen.stdout) as Who).strays.find((stray) => stray.pid === pid)?.respawner;
  const shown = await b.run(['who']);
  assertNoToken(seen.stdout + shown.stdout, b.token);
  const refused = await b.run(['start', '--', ...node('polite.mjs')]);
  assert.equal(refused.code, 75, refused.stderr);
  assert.ok(alive(pid), 'it is left alone');
  assert.equal(polledBy(b, 'polite.mjs').length, 0);
  assert.match(refused.stderr, new RegExp(`kept alive by ${kind} \\(`));
  const stop = /Stop it there: (.+)/.exec(refused.stderr)?.[1] ?? '';
  assert.match(stop, command);
  assert.equal(named?.stopCommand, stop, 'who says the same');
  assert.equal(named?.kind, kind);
  assert.ok(shown.stdout.includes(stop), shown.stdout);
  assertNoToken(refused.stderr, b.token);
  const typed = spawnSync('sh', ['-c', stop], { encoding: 'utf8', timeout: 20_000 });
  assert.equal(typed.status, 0, `${stop}\n${typed.stdout}${typed.stderr}`);
  await until('the stray to be gone', () => !alive(pid));
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const before = polledBy(b, 'poller.py').length;
  await staysTrue('no stray polls any more', 1500, () => polledBy(b, 'poller.py').length === before);
  assert.equal(run.ended(), null, run.seen());
}

test('runit', async (t) => {
  const b = await bed(t);
  mkdirSync(join(b.project, 'sv/my bot'), { recursive: true });
  b.file('sv/my bot/run', `#!/bin/sh\nexec ${PYTHON} ${worker('poller.py')}\n`, 0o755);
  const env = { ...b.env, LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root };
  b.spawn('runsvdir', ['-P', join(b.project, 'sv')], { env });
  await givesWay(b, 'runit', /^sv down '\S+\/sv\/my bot' && touch '.+\/my bot\/down'$/);
});

test('supervisord', async (t) => {
  const b = await bed(t);
  const config = `[unix_http_server]
file=%(here)s/s
[supervisord]
logfile=%(here)s/log
pidfile=%(here)s/pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%(here)s/s
[program:worker]
command=${PYTHON} ${worker('poller.py')}
[group:bots]
programs=worker
`;
  const path = b.file('supervisord.conf', config);
  const env = { ...b.env, LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root };
  b.spawn('supervisord', ['-n', '-c', path], { env });
  await givesWay(b, 'supervisord', /^supervisorctl -c \S+ stop bots:worker$/);
});

test('pm2', async (t) => {
  const b = await bed(t);
  const env = { ...b.env, LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root, PM2_HOME: join(b.dir, 'pm2') };
  const args = ['start', worker('poller.py'), '--name', 'bot', '--interpreter', PYTHON];
  const started = b.spawn('pm2', args, { env });
  assert.equal((await started.exit()).code, 0, started.seen());
  await givesWay(b, 'pm2', /^PM2_HOME=\S+ pm2 delete bot$/);
});

test('nodemon is no manager to be asked: it belongs to the stray, which is stopped with it from the top', async (t) => {
  const b = await bed(t);
  const env = { ...b.env, LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root };
  const copy = b.file('poller.py', readFileSync(worker('poller.py')));
  const nodemon = b.spawn('nodemon', ['--exec', PYTHON, copy], { env });
  await until('the stray to poll', () => polledBy(b, 'poller.py').length > 0, {
    ms: 30_000,
    seen: nodemon.seen,
  });
  const seen = await b.run(['who', '--json']);
  assert.equal(seen.code, 1, seen.stderr);
  const stray = (JSON.parse(seen.stdout) as Who).strays.find(
    ({ pid }) => pid === polledBy(b, 'poller.py')[0],
  );
  assert.equal(stray?.respawner ?? null, null);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  assert.equal(alive(nodemon.pid), false, run.seen());
  // A change of the file would have brought it back.
  const before = polledBy(b, 'poller.py').length;
  b.file('poller.py', `${readFileSync(copy, 'utf8')}\n`);
  await staysTrue('no stray polls any more', 1500, () => polledBy(b, 'poller.py').length === before);
  assert.equal(run.ended(), null, run.seen());
});

const keepsOn = `while :; do ${PYTHON} ${worker('poller.py')}; sleep 0.1; done`;
for (const [how, lines, again] of [
  ['bash in tmux', [keepsOn], /^kill -HUP \d+$/],
  ['bash in tmux, in the background', [`${keepsOn} &`], /^kill -HUP \d+$/],
  ['zsh', ['exec zsh -f', keepsOn], /^kill -HUP \d+$/],
  ['dash', ['exec dash -i', keepsOn], /^kill -HUP \d+$/],
  [
    'fish',
    ['exec fish --no-config', `while true; ${PYTHON} ${worker('poller.py')}; sleep 0.1; end`],
    /^kill -HUP \d+$/,
  ],
] as const) {
  test(`a loop of ${how}: the printed cure ends it`, async (t) => {
    const b = await bed(t);
    const env = { ...b.env, LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root };
    const tmux = await openTmux({ ...b, env }, 80, 24);
    for (const line of lines) {
      tmux.type(line);
      if (line.startsWith('exec')) await tmux.until(/[>%#$]\s*$/);
    }
    await until('the stray to poll', () => polledBy(b, 'poller.py').length > 0, { seen: tmux.seen });
    const refused = await b.run(['start', '--', ...node('polite.mjs')]);
    assert.equal(refused.code, 75, refused.stderr);
    const cure = /started again by .*(kill .*)$/m.exec(refused.stderr)?.[1] ?? '';
    assert.match(cure, again, refused.stderr);
    const typed = spawnSync('sh', ['-c', cure], { encoding: 'utf8', timeout: 20_000 });
    assert.equal(typed.status, 0, `${cure}\n${typed.stdout}${typed.stderr}`);
    const run = await b.polling(['--', ...node('polite.mjs')]);
    await until('the stray to be gone', () => polledBy(b, 'poller.py').every((pid) => !alive(pid)));
    const before = polledBy(b, 'poller.py').length;
    await staysTrue('no stray polls any more', 1500, () => polledBy(b, 'poller.py').length === before);
    assert.equal(run.ended(), null, run.seen());
  });
}
