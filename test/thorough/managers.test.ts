// A stray that a service manager keeps alive is not fought: `start` ends with 75, leaves it alone, and says the command that stops it for
// good; typed as it stands, it makes way. With every manager that can be had here, for real, and with loops of real shells.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { type Bed, POLITE, PYTHON, worker } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNoToken } from '../support/judge.ts';
import { xit } from '../support/kinds.ts';
import { alive } from '../support/proc.ts';
import { npmPrograms } from '../support/programs.ts';
import { polledBy, supervisord, withToken } from '../support/strays.ts';
import { openTmux } from '../support/tmux.ts';
import { staysTrue, until } from '../support/wait.ts';

interface Who {
  strays: { pid: number; respawner: { kind: string; name: string; stopCommand: string } | null }[];
}

// Both singlepoll and the typed command look for them on the PATH.
const programs = [npmPrograms('pm2', '7.0.4'), npmPrograms('nodemon', '3.1.14')];
process.env.PATH = [...programs, process.env.PATH, '/usr/sbin', '/sbin'].join(':');

const POLLER = worker('poller.py');
const strayPid = (b: Bed) => polledBy(b, 'poller.py').at(-1) ?? -1;
const envOf = (b: Bed) => ({ ...b.env, ...withToken(b) });

async function polls(b: Bed, seen: () => string): Promise<void> {
  await until('the stray to poll', () => polledBy(b, 'poller.py').length > 0, { seen });
}

/** Starts again: nothing of the stray is left or comes back. */
async function staysAway(b: Bed): Promise<void> {
  const run = await b.polling();
  await until('the stray to be gone', () => !polledBy(b, 'poller.py').some(alive), run);
  const before = polledBy(b, 'poller.py').length;
  await staysTrue('no stray polls any more', 1500, () => polledBy(b, 'poller.py').length === before);
  assert.equal(run.ended(), null, run.seen());
}

function type(command: string): void {
  const typed = spawnSync('sh', ['-c', command], { encoding: 'utf8', timeout: 20_000 });
  assert.equal(typed.status, 0, `${command}\n${typed.stdout}${typed.stderr}`);
}

/** Starts singlepoll against a kept stray, types what it says, starts again. */
async function givesWay(b: Bed, kind: string, command: RegExp): Promise<void> {
  const pid = strayPid(b);
  const seen = await b.exits(1, 'who --json');
  const named = (JSON.parse(seen.stdout) as Who).strays.find((stray) => stray.pid === pid)?.respawner;
  const shown = await b.run('who');
  const refused = await b.exits(75, ['start', ...POLITE]);
  assert.ok(alive(pid), 'it is left alone');
  assert.equal(polledBy(b, 'polite.mjs').length, 0);
  assert.match(refused.stderr, new RegExp(`kept alive by ${kind} \\(`));
  const stop = /^ {2}→ (.+)/m.exec(refused.stderr)?.[1] ?? '';
  assert.match(stop, command);
  assert.deepEqual([named?.kind, named?.stopCommand], [kind, stop], 'who says the same');
  assert.ok(shown.stdout.includes(stop), shown.stdout);
  assertNoToken(refused.stderr + seen.stdout + shown.stdout, b.token);
  type(stop);
  await staysAway(b);
}

function service(b: Bed, folder: string): string {
  mkdirSync(join(b.project, folder), { recursive: true });
  b.file(`${folder}/run`, `#!/bin/sh\nexec ${PYTHON} ${POLLER}\n`, 0o755);
  return join(b.project, 'sv');
}

const pm2 = ['start', POLLER, '--name', "a bot's name", '--interpreter', PYTHON];
const MANAGERS: [string, (b: Bed) => string[], RegExp][] = [
  [
    'runit',
    (b) => ['runsvdir', '-P', service(b, 'sv/my bot')],
    /^sv down '\S+\/sv\/my bot' && touch '.+\/my bot\/down'$/,
  ],
  ['s6', (b) => ['s6-svscan', service(b, 'sv/bot')], /^s6-svc -d \S+\/sv\/bot && touch \S+\/sv\/bot\/down$/],
  [
    'supervisord',
    (b) => ['supervisord', '-n', '-c', supervisord(b, 'worker', [PYTHON, POLLER])],
    /^supervisorctl -c \S+ stop bots:worker$/,
  ],
  ['pm2', () => ['pm2', ...pm2], /^PM2_HOME='?.*\/pm2 home'? pm2 delete 'a bot'\\''s name'/],
  ['pm2', () => ['pm2-runtime', ...pm2], /^PM2_HOME='?.*\/pm2 home'? pm2 delete 'a bot'\\''s name'/],
];

for (const [kind, command, cure] of MANAGERS)
  xit(`${kind}: the printed command ends it for good`, async (b) => {
    const [file = '', ...args] = command(b);
    const manager = b.spawn(file, args, { env: { ...envOf(b), PM2_HOME: join(b.dir, 'pm2 home') } });
    await polls(b, manager.seen);
    await givesWay(b, kind, cure);
  });

xit('cron: the line is named, and nobody is once it is removed', async (b) => {
  const line = `* * * * * ${PYTHON} ${POLLER}`;
  const variables = Object.entries({
    ...withToken(b),
    SP_TEST_COOKIE: b.cookie,
    SP_TEST_JOURNAL: join(b.dir, 'journal'),
  });
  for (const folder of ['tabs', 'etc', 'cron.d']) mkdirSync(join(b.project, folder));
  const table = b.file('tabs/root', `${variables.map((it) => it.join('=')).join('\n')}\n${line}\n`, 0o600);
  // cron tells a changed table by the second of its change, and a test may need less than one.
  const anHourAgo = new Date(Date.now() - 3_600_000);
  for (const path of [table, join(b.project, 'tabs')]) utimesSync(path, anHourAgo, anHourAgo);
  b.file('etc/crontab', '');
  // Its own crontabs over the machine's, seen by nobody else; a minute of it lasts two seconds.
  const setUp = `set -e
mount --bind '${b.project}/tabs' /var/spool/cron/crontabs
mount --bind '${b.project}/cron.d' /etc/cron.d
[ ! -e /etc/crontab ] || mount --bind '${b.project}/etc/crontab' /etc/crontab
mount -t tmpfs none /run
LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1) exec cron -f`;
  const env = { PATH: process.env.PATH ?? '', FAKETIME: '@2026-01-01 00:00:55 x30', NO_FAKE_STAT: '1' };
  const cron = b.spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', setUp], { env });
  await polls(b, cron.seen);
  const inside = async (words: string[], more = {}) => {
    const run = b.spawn('nsenter', [`--mount=/proc/${cron.pid}/ns/mnt`, ...words], {
      env: { ...b.env, ...more },
    });
    await run.exit();
    return run.stdout();
  };
  const respawner = async () => {
    const { strays } = JSON.parse(await inside([process.execPath, '--', PROGRAM, 'who', '--json'])) as Who;
    return strays.find(({ pid }) => pid === strayPid(b))?.respawner ?? null;
  };
  const found = await respawner();
  assert.deepEqual(found, {
    kind: 'cron',
    name: line,
    stopCommand: `crontab -e   # remove the line "${line}"`,
  });
  const editor = b.file('editor', '#!/bin/sh\necho "# none" > "$1"\ntouch -d "+1 minute" "$1"\n', 0o755);
  await inside(['bash', '-c', found.stopCommand], { EDITOR: editor, VISUAL: editor });
  assert.equal(await respawner(), null);
});

xit('nodemon is no manager to be asked: it belongs to the stray, which is stopped with it from the top', async (b) => {
  const copy = b.file('poller.py', readFileSync(POLLER));
  const nodemon = b.spawn('nodemon', ['--exec', PYTHON, copy], { env: envOf(b) });
  await polls(b, nodemon.seen);
  const { strays } = JSON.parse((await b.exits(1, 'who --json')).stdout) as Who;
  assert.equal(strays.find(({ pid }) => pid === strayPid(b))?.respawner ?? null, null);
  const run = await b.polling();
  await until('it to be gone', () => !alive(nodemon.pid), run);
  // A change of the file would have brought it back.
  b.file('poller.py', `${readFileSync(copy, 'utf8')}\n`);
  await b.exits(0, 'stop');
  await staysAway(b);
});

const keepsOn = `while :; do ${PYTHON} ${POLLER}; sleep 0.1; done`;
const inFish = `while true; ${PYTHON} ${POLLER}; sleep 0.1; end`;
for (const [how, lines] of [
  ['bash in tmux', [keepsOn]],
  ['bash in tmux, in the background', [`${keepsOn} &`]],
  ['zsh', ['exec zsh -f', keepsOn]],
  ['dash', ['exec dash -i', keepsOn]],
  ['fish', ['exec fish --no-config', inFish]],
] as const)
  xit(`a loop of ${how}: the printed cure ends it`, async (b) => {
    const tmux = await openTmux({ ...b, env: envOf(b) }, 80, 24);
    for (const line of lines) {
      tmux.type(line);
      if (line.startsWith('exec')) await tmux.until(/[>%#$]\s*$/);
    }
    await polls(b, tmux.seen);
    const { stderr } = await b.exits(75, ['start', ...POLITE]);
    const cure = /started again by .*\n {2}→ (kill \S+ \d+)/.exec(stderr)?.[1] ?? '';
    assert.match(cure, /^kill -HUP \d+$/, stderr);
    type(cure);
    await staysAway(b);
  });
