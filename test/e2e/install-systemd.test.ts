// `install` with a real systemd (a user's, in namespaces of its own): ready, reloaded, stopped, yielding, brought back, removed.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Bed, bed, node, type StartOptions } from '../support/bed.ts';
import { leftovers, serves } from '../support/detach-bed.ts';
import { assertNeverTwo } from '../support/judge.ts';
import { alive, environOf } from '../support/proc.ts';
import { legacyPoller, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const systemdScript = fileURLToPath(new URL('../fixtures/user-systemd.sh', import.meta.url));

interface World {
  readonly b: Bed;
  /** For the user that systemd serves. */
  readonly as: StartOptions & { env: Record<string, string> };
  systemctl(...words: string[]): Promise<{ code: number | null; text: string }>;
  show(property: string): Promise<string>;
}

const UNIT = 'a-bot.service';

/** Ends systemd in order, so that it takes its cgroups along; the bed ends what is left of a test that failed. */
async function withSystemd(t: TestContext, scene: (world: World) => Promise<void>): Promise<void> {
  const b = await bed(t);
  const runtime = join(b.dir, 'run');
  mkdirSync(runtime, { mode: 0o700 });
  const user = { HOME: join(b.dir, 'home'), XDG_RUNTIME_DIR: runtime };
  const systemd = b.spawn('sh', [systemdScript], { env: user });
  await until('systemd to listen', () => existsSync(join(runtime, 'systemd/private')), {
    seen: systemd.seen,
  });
  const systemctl = async (...words: string[]) => {
    const ran = b.spawn('systemctl', ['--user', '--no-pager', ...words], { env: user });
    const { code } = await ran.exit(30_000);
    return { code, text: ran.stdout() + ran.stderr() };
  };
  await scene({
    b,
    as: { env: { ...b.env, ...user } },
    systemctl,
    show: async (property) => (await systemctl('show', '-p', property, '--value', UNIT)).text.trim(),
  });
  systemd.signal('SIGTERM');
  await systemd.exit();
}

test('install: a real unit is started, reloaded, stopped, brought back, yields, and is removed', async (t) => {
  await withSystemd(t, scene);
});

async function scene({ b, as, systemctl, show }: World): Promise<void> {
  const odd = 'a "b" $HOME `id` \\n 100% \'c\'\nsecond line  ';
  as.env.ODD = odd;
  const install = [
    'install',
    '--with-env',
    'ODD',
    '--kind',
    'systemd',
    '--user',
    '--name',
    'a-bot',
    '--stop-timeout',
    '5s',
  ];
  const command = ['--', ...node('polite.mjs', 'a b', '100% $HOME "q"', "it's")];

  // Installed and started: the return says that it polls.
  const installed = await b.run([...install, '--now', ...command], as);
  assert.equal(
    installed.code,
    0,
    installed.stderr + installed.stdout + (await systemctl('status', UNIT)).text,
  );
  assert.match(installed.stdout, /^installed: a-bot\n/);
  assert.match(installed.stdout, /started: it polls/);
  assert.ok(b.sandbox.polls().length > 0);
  const unitPath = join(b.dir, 'home/.config/systemd/user', UNIT);
  const envPath = join(b.stateDir, 'install/a-bot.env');
  assert.ok(!readFileSync(unitPath, 'utf8').includes(b.token.split(':')[1] ?? ''), 'no token in the unit');
  assert.equal(statSync(envPath).mode & 0o777, 0o600);
  assert.equal(statSync(join(b.stateDir, 'install')).mode & 0o777, 0o700);
  assert.equal(await show('ActiveState'), 'active');
  assert.match(await show('StatusText'), /^polling; worker \d+/);
  assert.equal(await show('UnitFileState'), 'enabled');
  const status = await b.status();
  assert.equal(String(status.supervisor?.pid), await show('MainPID'));
  const worker = status.worker?.pid ?? 0;
  const words = readFileSync(`/proc/${worker}/cmdline`, 'utf8').split('\0').slice(2, -1);
  assert.deepEqual(words, ['a b', '100% $HOME "q"', "it's"], 'every word arrives as it was typed');
  for (const it of [`PATH=${b.env.PATH}`, `ODD=${odd}`, `HOME=${as.env.HOME}`])
    assert.ok(environOf(worker)?.includes(it), it);
  await serves(b, 'under systemd');

  // Reload replaces the worker alone.
  assert.equal((await systemctl('reload', UNIT)).code, 0);
  await until('a new worker', async () => {
    const now = (await b.status()).worker?.pid;
    return now && now !== worker;
  });
  assert.equal(String((await b.status()).supervisor?.pid), await show('MainPID'));

  // Again: in place, nothing doubled.
  const again = await b.run([...install, ...command], as);
  assert.match(again.stdout, /^updated: a-bot\n[\s\S]*systemctl --user restart a-bot/);

  // Killed, it comes back.
  process.kill(Number(await show('MainPID')), 'SIGKILL');
  await until('systemd to plan a restart', async () => (await show('SubState')) === 'auto-restart');
  await systemctl('stop', UNIT);

  // A supervisor by hand: the unit stands by.
  const byHand = await b.polling(['--', ...node('polite.mjs', 'by-hand')]);
  assert.equal((await systemctl('start', UNIT)).code, 0);
  assert.match(await show('StatusText'), /^stands by/);
  await systemctl('stop', UNIT);
  const now = await b.run([...install, '--now', ...command], as);
  assert.equal(now.code, 75, now.stderr);
  assert.match(
    now.stderr,
    /supervisor of this bot runs already[\s\S]*singlepoll stop && systemctl --user start a-bot/,
  );
  byHand.signal('SIGTERM');
  await byHand.exit();

  // `singlepoll stop` leaves it down.
  assert.equal((await systemctl('start', UNIT)).code, 0);
  assert.equal((await b.run(['stop'])).code, 0);
  await until('the unit to be down', async () => (await show('SubState')) === 'dead');
  assert.equal(await show('Result'), 'success');

  // `reset` does not fight it, and says how to start it where it was.
  assert.equal((await systemctl('start', UNIT)).code, 0);
  const reset = await b.run(['reset', '--no-start'], as);
  assert.equal(reset.code, 0, reset.stderr);
  assert.match(
    reset.stderr,
    /the unit a-bot\.service, which stays down; to start it again: systemctl start a-bot\.service/,
  );
  await until('the unit to be down', async () => (await show('SubState')) === 'dead');

  // From here on a stray polls too, until it is stopped.
  assertNeverTwo(b);

  // The hardening of a system unit, under the user's systemd of root: it blinds nobody.
  const shown = await b.run(
    [...install.filter((it) => it !== '--user'), '--system', '--print', ...command],
    as,
  );
  // A user's systemd can change no user, and has no nodes to hide /dev/kmsg and /proc/kcore behind.
  const hardened = shown.stdout.replace(/^(?:User|ProtectKernelLogs|ProtectKernelTunables)=.*\n/gm, '');
  assert.match(hardened, /^ProtectSystem=full$/m);
  writeFileSync(join(dirname(unitPath), 'hard.service'), hardened);
  const stray = legacyPoller(b, 'production_polling_bot.py', { cwd: b.dir });
  await until('the stray to poll', () => polledBy(b, 'production_polling_bot.py').length > 0, {
    seen: stray.seen,
  });
  assert.equal((await systemctl('daemon-reload')).code, 0);
  const started = await systemctl('start', 'hard.service');
  assert.equal(started.code, 0, (await systemctl('status', 'hard.service')).text);
  assert.ok(!alive(stray.pid), 'found by its environment and its connection, and stopped');
  assert.ok(
    existsSync(`/proc/${(await b.status()).worker?.pid}`),
    'and the control socket is found from outside',
  );
  assert.equal((await systemctl('stop', 'hard.service')).code, 0);

  // Away with it, while it runs.
  assert.equal((await systemctl('start', UNIT)).code, 0);
  const pid = Number(await show('MainPID'));
  const gone = await b.run(['uninstall', '--name', 'a-bot'], as);
  assert.equal(gone.code, 0, gone.stderr);
  assert.match(gone.stdout, /stopped and disabled: a-bot\.service/);
  assert.ok(!alive(pid));
  for (const path of [unitPath, envPath]) {
    assert.ok(!existsSync(path), path);
    assert.match(gone.stdout, new RegExp(`removed: ${path}`));
  }
  assert.equal((await systemctl('cat', UNIT)).code, 1);
  assert.equal(
    leftovers(b).filter((it) => environOf(it)?.some((line) => line.startsWith('SINGLEPOLL_SPAWN='))).length,
    0,
  );
}
