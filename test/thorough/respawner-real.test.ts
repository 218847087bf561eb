/**
 * Each service manager that can be had here, for real: it brings a killed poller back, is named, and the command
 * that was named ends the poller for good.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  bench,
  needs,
  paste,
  proveComeback,
  respawnerOf,
  staysAway,
  until,
  withSbin,
} from '../support/manager-bench.ts';
import { npmPrograms } from '../support/programs.ts';

const NODE = process.execPath;

// Both the search and the pasted command look for pm2 on the PATH.
process.env.PATH = `${npmPrograms('pm2', '7.0.4')}:${process.env.PATH}`;

describe('service managers', () => {
  test('pm2', async (t) => {
    const world = bench(t);
    const home = join(world.folder, 'pm2 home');
    const env = { ...process.env, PM2_HOME: home };
    const pm2 = (...args: string[]) =>
      assert.equal(spawnSync('pm2', args, { env, stdio: 'ignore' }).status, 0);
    pm2('start', world.poller, '--name', "a bot's name");
    await until('an app with its title', () => (world.pollers().length === 1 ? true : null));
    pm2('save');
    const command =
      /^PM2_HOME='.*\/pm2 home' pm2 delete 'a bot'\\''s name' && PM2_HOME='.*' pm2 save --force$/;
    await proveComeback(world, { kind: 'pm2', name: "a bot's name", command });
    assert.doesNotMatch(readFileSync(join(home, 'dump.pm2'), 'utf8'), /a bot's name/);
    // What the daemon is told not to restart does not come back, and nobody is to be named.
    pm2('start', world.poller, '--name', 'once', '--no-autorestart');
    assert.equal(await respawnerOf(await world.poller1()), null);
  });

  test('pm2-runtime', async (t) => {
    const world = bench(t);
    const home = join(world.folder, 'home');
    world.start('pm2-runtime', ['start', world.poller, '--name', 'bot'], {
      env: { ...process.env, PM2_HOME: home },
    });
    await proveComeback(world, { kind: 'pm2', name: 'bot', command: /^PM2_HOME=\S+ pm2 delete bot$/ });
  });

  test('s6', async (t) => {
    needs('s6-svscan', 's6');
    const world = bench(t);
    world.file('sv/bot/run', `#!/bin/sh\nexec ${NODE} ${world.poller}\n`, 0o755);
    world.start('s6-svscan', [join(world.folder, 'sv')]);
    const command = /^s6-svc -d \S+\/sv\/bot && touch \S+\/sv\/bot\/down$/;
    await proveComeback(world, { kind: 's6', name: join(world.folder, 'sv/bot'), command });
  });

  test('cron', async (t) => {
    assert.equal(process.getuid?.(), 0, 'needs root, for crontabs of its own');
    needs('cron', 'cron');
    needs('faketime', 'faketime');
    const world = bench(t);
    const line = `* * * * * cd ${world.folder} && ${NODE} ${world.poller}`;
    const table = world.file('tabs/root', `# ours\n${line}\n`, 0o600);
    // cron tells a changed table by the second of its change, and a test may need less than one.
    const anHourAgo = new Date(Date.now() - 3_600_000);
    for (const path of [table, join(world.folder, 'tabs')]) utimesSync(path, anHourAgo, anHourAgo);
    world.file('etc/crontab', '');
    world.file('cron.d/none', '');
    // Its own crontabs over the machine's, seen by nobody else; a minute of it lasts two seconds.
    const setUp = `set -e
mount --bind '${world.folder}/tabs' /var/spool/cron/crontabs
mount --bind '${world.folder}/cron.d' /etc/cron.d
[ ! -e /etc/crontab ] || mount --bind '${world.folder}/etc/crontab' /etc/crontab
mount -t tmpfs none /run
LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1) exec cron -f`;
    const cron = world.start('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', setUp], {
      env: { ...withSbin(), FAKETIME: '@2026-01-01 00:00:55 x30', NO_FAKE_STAT: '1' },
    });
    const inside = (command: string[], env: NodeJS.ProcessEnv = process.env) =>
      spawnSync('nsenter', [`--mount=/proc/${cron.pid}/ns/mnt`, ...command], {
        encoding: 'utf8',
        env,
        timeout: 10_000,
      });
    const stray = await until('a job of cron', () => world.pollers()[0] ?? null);
    const search = () =>
      respawnerOf(stray, (edges) => ({
        ...edges,
        async run(command, args) {
          const { status, stdout } = inside([command, ...args]);
          return { code: status, stdout };
        },
        readText: () => null,
        listFolder: () => [],
      }));
    const found = await search();
    assert.deepEqual(found, {
      kind: 'cron',
      name: line,
      stopCommand: `crontab -e   # remove the line "${line}"`,
    });
    // crontab looks at the time of the file, in seconds, to see whether anything was changed. The line that takes
    // the place of the removed one shows when cron has read its tables again, and when a minute has passed.
    const beat = join(world.folder, 'beat');
    const script = `#!/bin/sh\necho '* * * * * echo x >> ${beat}' > "$1"\ntouch -d '+1 minute' "$1"\n`;
    const editor = world.file('editor', script, 0o755);
    const edited = inside(['bash', '-c', found.stopCommand], {
      ...process.env,
      EDITOR: editor,
      VISUAL: editor,
    });
    assert.equal(edited.status, 0, edited.stderr);
    // The line is gone: what still runs may be stopped now, and stays away.
    assert.equal(await search(), null);
    const beats = () => (existsSync(beat) ? readFileSync(beat, 'utf8').length / 2 : 0);
    await until('the new table is in use', () => (beats() > 0 ? true : null));
    for (const proc of world.pollers()) process.kill(proc.pid, 'SIGKILL');
    await until('the jobs are gone', () => (world.pollers().length === 0 ? true : null));
    const now = beats();
    await until('two more minutes of cron', () => {
      assert.deepEqual(world.pollers(), [], 'it came back');
      return beats() >= now + 2 ? true : null;
    });
  });

  test('orphans of a dead manager are nobody’s', async (t) => {
    needs('runsv', 'runit');
    const world = bench(t);
    world.file('sv/bot/run', `#!/bin/sh\nexec ${NODE} ${world.poller}\n`, 0o755);
    const runsv = world.start('runsv', [join(world.folder, 'sv/bot')]);
    const before = await world.poller1();
    assert.equal((await respawnerOf(before))?.kind, 'runit');
    process.kill(runsv.pid!, 'SIGKILL');
    const orphan = await until(
      'an orphan',
      () => world.pollers().find((proc) => proc.ppid !== runsv.pid) ?? null,
    );
    assert.equal(await respawnerOf(orphan), null);
    paste(`kill -9 ${orphan.pid}`);
    await until('the orphan to be gone', () => (world.pollers().length === 0 ? true : null));
    await staysAway(world, 500);
  });
});
