// systemd as PID 1: a bot as a system unit and as a user's, from its installation over crashes and reboots to its removal.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addUser, bootGuest, type Guest } from '../support/guest.ts';
import { pack } from '../support/packed.ts';
import { newFolder } from '../support/place.ts';
import { until } from '../support/wait.ts';

const folder = newFolder();
const { path: TARBALL } = pack(folder);
const BOT = 'node /opt/workers/polite.mjs';
const IN_BOT = 'cd /srv/bot && singlepoll';

/** Waits for a property of a unit. */
const becomes = (guest: Guest, unit: string, property: string, wanted: RegExp, ms = 40_000) => {
  let last = '';
  const look = async () => {
    last = await guest.show(unit, property);
    return wanted.test(last);
  };
  return until(`${property} of ${unit} to match ${wanted}`, look, { ms, everyMs: 200, seen: () => last });
};
const serves = async ({ b }: Guest) => {
  const polls = b.sandbox.polls().length;
  b.sandbox.text('/ping');
  await until('a poll', () => b.sandbox.polls().length > polls);
};

test('a system unit: ready, reloaded, killed, frozen, rebooted; its journal; removed', async (t) => {
  const guest = await bootGuest(t, TARBALL);
  const { run, tries, show } = guest;
  const told = await run(`${IN_BOT} install --system --now --name a-bot -- ${BOT}`);
  assert.match(told, /^installed: a-bot\n[\s\S]*started: it polls/m);
  assert.ok(guest.b.sandbox.polls().length > 0, 'ready is: it has polled');
  assert.match(await show('a-bot', 'StatusText'), /^polling; worker \d+/);
  const pid = await show('a-bot', 'MainPID');

  // Whoever comes second is told who it is.
  const second = await tries(`${IN_BOT} start -- ${BOT}`);
  assert.equal(second.code, 75);
  assert.match(second.text, /the unit a-bot\.service[\s\S]*systemctl stop a-bot\.service/);
  // It goes on where the newcomer fails.
  const worker = /worker (\d+)/;
  const workerNow = async () => worker.exec(await show('a-bot', 'StatusText'))?.[1];
  const before = await workerNow();
  const taker = await tries(`${IN_BOT} start --takeover --max-restarts 1/5m -- sh -c 'exit 3'`);
  assert.equal(taker.code, 3, taker.text);
  assert.match(taker.text, /unit a-bot\.service[\s\S]*what ends it: systemctl stop a-bot\.service/);
  await becomes(guest, 'a-bot', 'StatusText', new RegExp(`^polling; worker (?!${before}\\b)`));
  assert.equal(await show('a-bot', 'MainPID'), pid);
  const twin = await tries(`${IN_BOT} install --name twin -- ${BOT}`);
  assert.equal(twin.code, 78);
  assert.match(twin.text, /installed already, as a-bot[\s\S]*singlepoll uninstall --name a-bot/);

  const first = await workerNow();
  await run('systemctl reload a-bot');
  await becomes(guest, 'a-bot', 'StatusText', new RegExp(`^polling; worker (?!${first}\\b)`));
  assert.equal(await show('a-bot', 'MainPID'), pid, 'a reload keeps the supervisor');
  // The worker crashes, then the supervisor is killed.
  await run(`pkill -9 -fx '${BOT}'`);
  await becomes(guest, 'a-bot', 'StatusText', /^polling; .*restarts 2/);
  await run(`kill -9 ${pid}`);
  await becomes(guest, 'a-bot', 'NRestarts', /^1$/);
  await becomes(guest, 'a-bot', 'StatusText', /^polling/);
  await serves(guest);

  // One that stands still is ended by the watchdog, and comes back.
  await run(`mkdir -p /run/systemd/system/a-bot.service.d
    printf '[Service]\\nWatchdogSec=4s\\nTimeoutStopSec=2s\\n' > /run/systemd/system/a-bot.service.d/quick.conf
    systemctl daemon-reload; systemctl restart a-bot; kill -STOP $(systemctl show -p MainPID --value a-bot)`);
  await becomes(guest, 'a-bot', 'Result', /watchdog/);
  await becomes(guest, 'a-bot', 'SubState', /^running/);

  const journal = await run(
    'journalctl -u a-bot -o json --no-pager --output-fields=PRIORITY,SYSLOG_IDENTIFIER,MESSAGE',
  );
  const lines = journal
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const own = lines.filter((it) => String(it.MESSAGE).startsWith('['));
  assert.ok(own.length > 5 && own.every((it) => it.SYSLOG_IDENTIFIER === 'a-bot'));
  assert.ok(own.some((it) => it.PRIORITY === '4') && own.some((it) => it.PRIORITY === '6'));
  assert.match(await run(`${IN_BOT} logs -n 30`), /a-bot\[\d+\]: \[poll\] worker \d+ polls/);

  await guest.reboot();
  await becomes(guest, 'a-bot', 'StatusText', /^polling/);
  await serves(guest);

  const removed = await run(`${IN_BOT} uninstall --name a-bot`);
  assert.match(
    removed,
    /stopped and disabled: a-bot\.service[\s\S]*left: the state folder \/root\/.local\/state\/singlepoll/,
  );
  assert.equal((await tries('pgrep -fa "singlepoll|polite"')).text, '');
  assert.deepEqual(
    (
      await run('find /etc/systemd /root/.local /run/systemd/system -name "*a-bot*.service" -o -name "*.env"')
    ).trim(),
    '',
  );
});

test('why a unit has ended is its last status: a crash loop, 69, 75, 77, 78, and what is started again', async (t) => {
  const guest = await bootGuest(t, TARBALL);
  const { run, tries } = guest;
  // Each a bot of its own, as far as there is one.
  const fails = async (name: string, more: string, env = '') =>
    await tries(
      `mkdir -p /srv/${name}; cd /srv/${name}; ${env} singlepoll install --now --name ${name} ${more}`,
      90_000,
    );
  const api = 'TELEGRAM_API_ROOT=http://127.0.0.1:9000';
  const mine = `${api} TELEGRAM_BOT_TOKEN=${guest.b.token}`;
  const token = (id: number) => `TELEGRAM_BOT_TOKEN=${id}:${'A'.repeat(35)}`;

  const crash = await fails('crash', '--max-restarts 1/5m -- sh -c "echo no database; exit 9"', mine);
  assert.equal(crash.code, 9);
  assert.match(crash.text, /\| no database[\s\S]*it did not start: crash loop/);
  assert.match(await guest.show('crash', 'StatusText'), /^crash loop.*\(exit 9\)/);
  await run('singlepoll uninstall --name crash');

  const refused = await fails('refused', `-- ${BOT}`, `${api} ${token(4711)}`);
  assert.equal(refused.code, 77, refused.text);
  const broken = await fails('broken', `-- ${BOT}`, mine);
  assert.equal(broken.code, 0, broken.text);
  await run(
    `systemctl stop broken; sed -i 's/^TELEGRAM_BOT_TOKEN=.*/TELEGRAM_BOT_TOKEN="no token"/' /root/.local/state/singlepoll/install/broken.env`,
  );
  assert.notEqual((await tries('systemctl start broken')).code, 0);
  for (const [name, code] of [
    ['refused', 77],
    ['broken', 78],
  ] as const) {
    assert.equal(await guest.show(name, 'ExecMainStatus'), String(code));
    assert.match(await guest.show(name, 'StatusText'), new RegExp(`\\(exit ${code}\\)$`));
    assert.equal(await guest.show(name, 'SubState'), 'failed', `${code} is not started again`);
  }
  await run('singlepoll uninstall --name broken');

  // One holder by hand: with --no-wait the unit ends with 75; without, it stands by and takes the place.
  await run(
    `cd /srv/bot && systemd-run --unit=by-hand --working-directory=/srv/bot singlepoll start -- ${BOT}`,
  );
  await until('the one by hand to poll', () => guest.b.sandbox.polls().length > 0);
  await until('its lock', async () => (await tries(`${IN_BOT} status`)).code === 0);
  const told = await fails('yields', `--no-wait -- ${BOT}`, mine);
  assert.match(told.text, /not started: [\s\S]*by-hand\.service[\s\S]*systemctl stop by-hand\.service &&/);
  await tries('systemctl start yields');
  assert.equal(await guest.show('yields', 'ExecMainStatus'), '75');
  assert.equal(await guest.show('yields', 'SubState'), 'failed');
  await run('singlepoll uninstall --name yields');
  await fails('waits', `-- ${BOT}`, mine);
  await run('systemctl start waits');
  assert.match(await guest.show('waits', 'StatusText'), /^standby/);
  await run('systemctl stop by-hand');
  await becomes(guest, 'waits', 'StatusText', /^polling/);

  // Out of reach is tried again.
  await run('systemctl stop waits api');
  await run('systemctl start --no-block waits');
  await becomes(guest, 'waits', 'NRestarts', /^[1-9]/, 90_000);
  assert.match(await run('journalctl -u waits --no-pager'), /status=69\/UNAVAILABLE/);
  await run('systemctl start api');
  await becomes(guest, 'waits', 'StatusText', /^polling/, 60_000);
});

test('a user’s unit over ssh: it ends at logout without linger, which is said, and lives with it, also after a reboot', async (t) => {
  const guest = await bootGuest(t, TARBALL);
  const { run, tries } = guest;
  await addUser(guest, 'ann');
  const isUp = async () => (await tries(`pgrep -u ann -fx '${BOT}'`)).code === 0;
  const install = `singlepoll install --user --now --name a-bot -- ${BOT}`;
  const first = await guest.login('ann', install);
  assert.equal(first.code, 0, first.text);
  assert.match(first.text, /ends when you log out; to have it run from boot on:\n.*loginctl enable-linger/);
  await until('its end at logout', async () => !(await isUp()));

  await run('loginctl enable-linger ann');
  const second = await guest.login('ann', install);
  assert.equal(second.code, 0, second.text);
  assert.doesNotMatch(second.text, /log out/);
  await until(
    'nobody to be logged in',
    async () => !/ssh|pts/.test((await tries('loginctl list-sessions --no-legend')).text),
  );
  assert.ok(await isUp());
  await serves(guest);
  // Root is told what it is, and its owner how to read it.
  const twin = await tries(`${IN_BOT} install --system --name twin -- ${BOT}`);
  assert.equal(twin.code, 78, twin.text);
  assert.match(
    twin.text,
    /as a-bot \(a user unit of systemd of ann,[\s\S]*sudo -u ann XDG_RUNTIME_DIR=\/run\/user\/\d+ singlepoll uninstall --name a-bot/,
  );
  const root = await tries(`${IN_BOT} start -- ${BOT}`);
  assert.equal(root.code, 75);
  assert.match(root.text, /the unit a-bot\.service/);
  assert.match((await guest.login('ann', 'singlepoll logs')).text, /polls/);

  await guest.reboot();
  await until('it to run from boot on', isUp);
  await serves(guest);
  const gone = await guest.login('ann', 'singlepoll uninstall --name a-bot');
  assert.equal(gone.code, 0, gone.text);
  assert.ok(!(await isUp()));

  // Where logind ends what a login leaves behind.
  await run(`mkdir -p /etc/systemd/logind.conf.d; printf '[Login]\\nKillUserProcesses=yes\\n' > /etc/systemd/logind.conf.d/kill.conf
    systemctl restart systemd-logind; loginctl disable-linger ann`);
  const detached = await guest.login('ann', `singlepoll start -d -- ${BOT}`);
  assert.equal(detached.code, 0, detached.text);
  assert.match(detached.text, /it will end when you log out[\s\S]*singlepoll install --user --now/);
  await until('its end at logout', async () => !(await isUp()));
});

test('strays under units and cron: named with the command that stops them, waited for, and gone the place is taken', async (t) => {
  const guest = await bootGuest(t, TARBALL);
  const { run, tries } = guest;
  const env = `--working-directory=/srv/bot -p EnvironmentFile=/srv/bot/.env`;
  await run(`systemd-run --unit=legacy -p Restart=always ${env} ${BOT}`);
  await until('the stray to poll', () => guest.b.sandbox.polls().length > 0);
  const yields = await tries(`${IN_BOT} start -- ${BOT}`);
  assert.equal(yields.code, 75, yields.text);
  assert.match(yields.text, /systemd \(legacy\.service\)[\s\S]*systemctl stop legacy\.service/);
  assert.match(
    await run(`${IN_BOT} start -d --wait -- ${BOT}`),
    /stands by, as a stray poller .*legacy\.service/,
  );
  await run(`${IN_BOT} stop`);
  assert.match(await run(`${IN_BOT} install --now --name a-bot -- ${BOT}`), /stands by/);
  assert.match(await guest.show('a-bot', 'StatusText'), /^standby; .*legacy\.service/);
  const polls = guest.b.sandbox.polls().length;
  await run('systemctl stop legacy');
  await becomes(guest, 'a-bot', 'StatusText', /^polling/);
  assert.ok(guest.b.sandbox.polls().length > polls);

  // A unit that is not started again, and a job of cron: both are stopped.
  await run(`${IN_BOT} uninstall --name a-bot; systemd-run --unit=once ${env} ${BOT}`);
  await until('the stray', async () => (await tries('pgrep -f polite.mjs')).code === 0);
  await run(`cd /srv/bot && timeout 30 singlepoll install --now --name a-bot -- ${BOT}`);
  assert.equal(await guest.show('once', 'ActiveState'), 'inactive');
  await run(`${IN_BOT} uninstall --name a-bot`);

  // Without systemd’s help: cron at boot.
  await run(`${IN_BOT} install --kind cron --name by-cron -- ${BOT}`);
  await guest.reboot();
  await until('cron to have started it', async () => (await tries(`${IN_BOT} status`)).code === 0);
  await serves(guest);
  assert.match(await run(`${IN_BOT} uninstall --name by-cron`), /stopped: supervisor/);
});
